"""`GET /api/v1/usage`."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from metering.models import UsageEvent
from metering.services.rollups import roll_up
from tenants.models import Scope
from tests.billing.api.conftest import Caller
from tests.factories.billing import HitDiscountFactory, PlanFactory, PriceFactory, SubscriptionFactory
from tests.factories.usage import use

pytestmark = pytest.mark.usefixtures("live_db")
URL = "/api/v1/usage"
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


def answer(caller: Caller, **query: str) -> dict[str, Any]:
    roll_up(now=timezone.now())
    response = caller.client.get(URL, {"month": "2026-11"} | query)
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


def calls_by(caller: Caller, *names: str, **query: str) -> list[tuple[Any, ...]]:
    groups = answer(caller, group_by=",".join(names), **query)["groups"]
    return [(*(group[name] for name in names), group["calls"]) for group in groups]


def test_served_and_computed_listed_charged_and_saved(acme: Caller, stranger: Caller) -> None:
    use(stranger.tenant.pk, occurred_at=NOON)
    use(acme.tenant.pk, occurred_at=NOON, input=1_234, output=567)
    use(acme.tenant.pk, occurred_at=NOON, input=1_234, output=567, outcome="exact")
    use(acme.tenant.pk, occurred_at=NOON, input=1_234, output=567, outcome="semantic")
    use(acme.tenant.pk, occurred_at=NOON, input=0, output=0, units=3, model="ocr")
    assert answer(acme) == {
        "period_start": "2026-11-01T00:00:00Z",
        "period_end": "2026-12-01T00:00:00Z",
        "currency": "USD",
        "groups": [
            {
                "day": "2026-11-10T00:00:00Z",
                "calls": 4,
                "hits": 2,
                "tokens_served": 5_403,
                "tokens_computed": 1_801,
                "units_served": 3,
                "units_computed": 3,
                "list": "0.0044025",
                "charged": "0.001761",
                "saved": "0.0026415",
                "unrated_calls": 1,
            }
        ],
    }


def test_each_tenant_sees_its_own(acme: Caller, stranger: Caller) -> None:
    for caller, calls in ((acme, 2), (stranger, 1)):
        for _ in range(calls):
            use(caller.tenant.pk, occurred_at=NOON)
    assert calls_by(acme, "model") == [("qwen", 2)]
    assert calls_by(stranger, "model") == [("qwen", 1)]
    assert answer(stranger)["currency"] is None
    assert UsageEvent.objects.count() == 3


def test_by_day_and_by_hour(acme: Caller, stranger: Caller) -> None:
    use(stranger.tenant.pk, occurred_at=NOON)
    for hours in (0, 0.9, 1, 12, 36):
        use(acme.tenant.pk, occurred_at=NOON + timedelta(hours=hours))
    assert calls_by(acme, "day") == [
        ("2026-11-10T00:00:00Z", 3),
        ("2026-11-11T00:00:00Z", 1),
        ("2026-11-12T00:00:00Z", 1),
    ]
    assert calls_by(acme, "hour") == [
        ("2026-11-10T12:00:00Z", 2),
        ("2026-11-10T13:00:00Z", 1),
        ("2026-11-11T00:00:00Z", 1),
        ("2026-11-12T00:00:00Z", 1),
    ]


def test_by_several_dimensions_in_the_order_asked_for(acme: Caller, stranger: Caller) -> None:
    for caller in (acme, stranger):
        for model, outcome in (("a", "miss"), ("a", "exact"), ("b", "miss"), ("a", "miss")):
            use(caller.tenant.pk, occurred_at=NOON, model=model, outcome=outcome)
    assert calls_by(acme, "outcome", "model") == [("exact", "a", 1), ("miss", "a", 2), ("miss", "b", 1)]
    assert calls_by(acme, "model", "outcome") == [("a", "exact", 1), ("a", "miss", 2), ("b", "miss", 1)]


def test_only_a_model_or_an_outcome(acme: Caller, stranger: Caller) -> None:
    for caller in (acme, stranger):
        for model, outcome in (("a", "miss"), ("a", "exact"), ("b", "miss")):
            use(caller.tenant.pk, occurred_at=NOON, model=model, outcome=outcome)
    assert calls_by(acme, "outcome", model="a") == [("exact", 1), ("miss", 1)]
    assert calls_by(acme, "model", outcome="miss") == [("a", 1), ("b", 1)]
    assert calls_by(acme, "model", outcome="miss", model="a") == [("a", 1)]
    assert calls_by(acme, "model", model="none") == []


@pytest.mark.parametrize("group_by", ["day", "hour", "model"])
def test_a_price_cut_within_an_hour_counts_from_its_minute(
    acme: Caller, stranger: Caller, group_by: str
) -> None:
    plan = PlanFactory.create()
    PriceFactory.create(plan=plan, amount="0.50")
    PriceFactory.create(plan=plan, amount="0.05", effective_from=NOON + timedelta(minutes=15))
    HitDiscountFactory.create(plan=plan, outcome="exact", percent=50)
    SubscriptionFactory.create(tenant=stranger.tenant, plan=plan)
    for minutes in (14, 15):
        for caller in (acme, stranger):
            instant = NOON + timedelta(minutes=minutes)
            use(caller.tenant.pk, occurred_at=instant, input=1_000_000, output=0, outcome="exact")
    (group,) = answer(stranger, group_by=group_by)["groups"]
    assert (Decimal(group["list"]), Decimal(group["charged"])) == (Decimal("0.55"), Decimal("0.275"))
    (group,) = answer(acme, group_by=group_by)["groups"]
    assert (group["list"], group["charged"]) == ("1", "0")


def test_from_one_hour_to_another(acme: Caller, stranger: Caller) -> None:
    roll_up(now=timezone.now())
    for caller in (acme, stranger):
        for hours in (-1, 0, 1, 2):
            use(caller.tenant.pk, occurred_at=NOON + timedelta(hours=hours))
    roll_up(now=timezone.now())
    query = {"from": "2026-11-10T12:00:00Z", "to": "2026-11-10T14:00:00Z", "group_by": "day"}
    (group,) = acme.client.get(URL, query).json()["groups"]
    assert group["calls"] == 2


def test_this_month_with_its_running_hour_unless_told_otherwise(acme: Caller, stranger: Caller) -> None:
    now = timezone.now()
    for caller in (acme, stranger):
        use(caller.tenant.pk, occurred_at=now)
    roll_up(now=now)
    body = acme.client.get(URL).json()
    assert [group["calls"] for group in body["groups"]] == [1]
    assert datetime.fromisoformat(body["period_start"]).day == 1


@pytest.mark.parametrize(
    ("query", "parameter", "remedy"),
    [
        ({"group_by": "week"}, "group_by", "day, hour, model, outcome"),
        ({"group_by": "day,"}, "group_by", "day, hour, model, outcome"),
        ({"outcome": "hit"}, "outcome", "hit"),
        ({"from": "2026-11-01T00:30:00Z"}, "from", "start of one"),
        ({"to": "2026-11-02T00:00:01Z"}, "to", "start of one"),
        ({"group_by": "hour", "from": "2026-10-01", "to": "2026-11-02"}, "group_by", "31 days"),
        ({"from": "2099-01-01"}, "to", "later than from"),
        ({"by": "day"}, "by", "group_by"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_remedy(
    acme: Caller, stranger: Caller, query: dict[str, str], parameter: str, remedy: str
) -> None:
    for caller in (acme, stranger):
        response = caller.client.get(URL, query)
        assert response.status_code == 400
        (error,) = response.json()["errors"]
        assert error["parameter"] == parameter
        assert remedy in error["detail"]


def test_it_takes_the_scope_usage_read(acme: Caller, stranger: Caller) -> None:
    for caller in (acme, stranger):
        response = caller.with_scope(Scope.INVOICES_READ).get(URL)
        assert (response.status_code, response.json()["code"]) == (403, "scope_missing")
