"""`GET /api/v1/cache/statistics`."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from cacheproxy.api.statistics import REASONS_HELP, TIERS_HELP
from cacheproxy.gateway.telemetry.tally import REASONS, TIERS
from cacheproxy.models import CacheStatistic
from metering.services.rollups import roll_up
from tenants.models import Scope, User
from tests.billing.api.conftest import Caller, caller
from tests.factories.billing import HitDiscountFactory, PlanFactory, PriceFactory, SubscriptionFactory
from tests.factories.statistics import count
from tests.factories.tenants import TenantFactory
from tests.factories.usage import NOVEMBER_NOON, use

URL = "/api/v1/cache/statistics"
NOVEMBER = {"month": "2026-11"}
pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def acme() -> Caller:
    """Acme made one miss and two hits, the latter discounted by 80 %; the gateways counted all but one."""
    acme = caller(TenantFactory.create(slug="acme"), Scope.USAGE_READ)
    plan = PlanFactory.create()
    PriceFactory.create(plan=plan, model="qwen", pool="input", amount="0.50")
    PriceFactory.create(plan=plan, model="qwen", pool="output", amount="1.50")
    HitDiscountFactory.create(plan=plan, outcome="exact", percent=80)
    SubscriptionFactory.create(tenant=acme.tenant, plan=plan)
    for outcome in ("miss", "exact", "exact"):
        use(acme.tenant.pk, outcome=outcome)
    count(acme.tenant, "memory", 1, size_bytes=700, age_ms=4_000)
    count(acme.tenant, "redis", 1, at=NOVEMBER_NOON + timedelta(hours=1), size_bytes=700, age_ms=9_000)
    count(acme.tenant, "never_seen", 1)
    return acme


@pytest.fixture
def stranger() -> Caller:
    stranger = caller(TenantFactory.create(slug="stranger"), Scope.USAGE_READ)
    count(stranger.tenant, "evicted", 5, model="other")
    return stranger


def models(client: Client, **query: str) -> list[dict[str, Any]]:
    roll_up(now=NOVEMBER_NOON + timedelta(days=1))
    response = client.get(URL, NOVEMBER | query)
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["models"]
    return found


def staff(*permissions: str) -> Client:
    client, user = Client(), User.objects.create_user("ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def test_a_tenant_sees_what_its_hits_save_and_why_there_were_misses(acme: Caller, stranger: Caller) -> None:
    (found,) = models(acme.client)
    tiers, reasons = found.pop("hits_by_tier"), found.pop("misses_by_reason")
    assert found == {
        "tenant": "acme",
        "model": "qwen",
        "currency": "USD",
        "calls": 3,
        "hits": 2,
        "hit_rate": "0.6666",
        "tokens_saved": 2200,
        "units_saved": 0,
        "saved": "0.00104",
        "bytes_given": 1400,
        "mean_age_seconds": 6,
    }
    assert tiers == dict.fromkeys(TIERS, 0) | {"memory": 1, "redis": 1}
    assert reasons == dict.fromkeys(REASONS, 0) | {"never_seen": 1}


def test_a_period_has_only_its_own_hours(acme: Caller) -> None:
    noon, one = "2026-11-10T12:00:00Z", "2026-11-10T13:00:00Z"
    response = acme.client.get(URL, {"from": noon, "to": one})
    (found,) = response.json()["models"]
    assert (found["hits_by_tier"]["memory"], found["hits_by_tier"]["redis"]) == (1, 0)
    assert acme.client.get(URL, {"from": "2026-11-10T12:30:00Z"}).status_code == 400


def test_a_model_can_be_named(acme: Caller) -> None:
    assert models(acme.client, model="else") == []
    assert len(models(acme.client, model="qwen")) == 1


def test_a_tenant_sees_nobody_elses(acme: Caller, stranger: Caller) -> None:
    assert [one["tenant"] for one in models(stranger.client)] == ["stranger"]
    assert stranger.client.get(URL, NOVEMBER | {"tenant": "acme"}).status_code == 404


def test_staff_see_every_tenant_or_one(acme: Caller, stranger: Caller) -> None:
    client = staff("view_cachestatistic", "view_usagerollup", "view_invoice")
    assert [(one["tenant"], one["model"]) for one in models(client)] == [
        ("acme", "qwen"),
        ("stranger", "other"),
    ]
    assert [one["tenant"] for one in models(client, tenant="stranger")] == ["stranger"]
    assert client.get(URL, {"tenant": "nobody"}).status_code == 404


def test_a_scope_or_all_permissions_are_needed(acme: Caller) -> None:
    assert acme.with_scope(Scope.INFERENCE).get(URL).status_code == 403
    assert staff("view_cachestatistic").get(URL).status_code == 401
    assert Client().get(URL).status_code == 401


def test_every_tier_and_reason_is_explained() -> None:
    assert (set(TIERS_HELP), set(REASONS_HELP)) == (set(TIERS), set(REASONS))
    assert set(CacheStatistic.Result.values) == {*TIERS, *REASONS}
