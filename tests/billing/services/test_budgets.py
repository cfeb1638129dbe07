"""Budgets and their alerts: raised once, told until heard, signed, and to nowhere inside."""

import hmac
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.core import mail
from django.db import IntegrityError, transaction

from billing import outgoing
from billing.errors import BudgetRefused, WebhookNotTaken
from billing.models import Budget, BudgetAlert
from billing.services.budgets import Changed, deliver_alerts, raise_alerts, set_budget
from billing.tasks import watch_budgets
from metering.services.rollups import roll_up
from tenants.models import Tenant
from tests.factories.billing import subscribed_tenant
from tests.factories.tenants import ApiKeyFactory, TenantFactory
from tests.factories.usage import NOVEMBER_NOON, use
from tests.fakes.receiver import Receiver, receiving

pytestmark = pytest.mark.django_db(transaction=True)
EACH = Decimal("0.00065")
"""What one call costs: 1,000 tokens in, 100 out."""


@pytest.fixture
def tenant(live_db: str) -> Tenant:
    return subscribed_tenant()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOKS_TO_PRIVATE_NETWORKS = True
    with receiving() as receiver:
        yield receiver


def spend(tenant: Tenant, calls: int = 1, **changes: Any) -> None:
    for _ in range(calls):
        use(tenant.pk, **changes)
    roll_up(now=NOVEMBER_NOON)


def levels() -> list[str]:
    return sorted(BudgetAlert.objects.values_list("level", flat=True))


def test_a_budget_is_made_changed_and_left_alone(tenant: Tenant) -> None:
    asked: dict[str, Any] = {"tenant": tenant, "period": "month", "soft_amount": Decimal("0.8")}
    assert set_budget(**asked) == Changed(None, "month soft 0.8")
    assert set_budget(**asked) is None
    changed = set_budget(**asked, hard_amount=Decimal(1), email="a@b.example")
    assert changed == Changed("month soft 0.8", "month soft 0.8, hard 1, a@b.example")
    assert Budget.objects.get().webhook_secret == ""
    set_budget(**asked, webhook_url="https://hooks.example/x")
    secret = Budget.objects.get().webhook_secret
    assert len(secret) >= 32
    set_budget(**asked, webhook_url="https://hooks.example/y")
    assert Budget.objects.get().webhook_secret == secret


@pytest.mark.parametrize(
    "amounts", [{}, {"soft_amount": Decimal(2), "hard_amount": Decimal(1)}], ids=["none", "soft above hard"]
)
def test_a_budget_that_says_nothing_sensible_is_refused(tenant: Tenant, amounts: Any) -> None:
    with pytest.raises(BudgetRefused):
        set_budget(tenant=tenant, period="month", **amounts)


def test_another_tenants_key_is_refused_by_us_and_by_the_database(tenant: Tenant) -> None:
    key = ApiKeyFactory.create(tenant=TenantFactory.create())
    with pytest.raises(BudgetRefused, match="not one of this tenant's"):
        set_budget(tenant=tenant, api_key=key, period="day", hard_amount=Decimal(1))
    with pytest.raises(IntegrityError, match="budget_key_of_tenant"), transaction.atomic():
        Budget.objects.create(tenant=tenant, api_key=key, hard_amount=Decimal(1))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"soft_amount": 2, "hard_amount": 1},
        {"hard_amount": -1},
        {"hard_amount": 10**10},
        {"hard_amount": 1, "period": "year"},
    ],
)
def test_the_database_refuses_the_same(tenant: Tenant, values: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Budget.objects.create(tenant=tenant, **values)


def test_a_tenant_has_one_budget_for_a_period(tenant: Tenant) -> None:
    Budget.objects.create(tenant=tenant, hard_amount=Decimal(1))
    Budget.objects.create(tenant=tenant, hard_amount=Decimal(1), period="day")
    Budget.objects.create(tenant=tenant, hard_amount=Decimal(1), api_key=ApiKeyFactory.create(tenant=tenant))
    with pytest.raises(IntegrityError, match="budget_once"), transaction.atomic():
        Budget.objects.create(tenant=tenant, hard_amount=Decimal(2))


def test_each_amount_that_is_passed_raises_one_alert_a_period(tenant: Tenant) -> None:
    Budget.objects.create(tenant=tenant, soft_amount=2 * EACH, hard_amount=3 * EACH)
    stranger = subscribed_tenant()
    Budget.objects.create(tenant=stranger, soft_amount=EACH)
    spend(tenant)
    assert (raise_alerts(now=NOVEMBER_NOON), levels()) == (0, [])
    spend(tenant)
    assert (raise_alerts(now=NOVEMBER_NOON), levels()) == (1, ["soft"])
    spend(tenant, calls=2)
    assert (raise_alerts(now=NOVEMBER_NOON), levels()) == (1, ["hard", "soft"])
    assert raise_alerts(now=NOVEMBER_NOON) == 0
    assert BudgetAlert.objects.get(level="hard").spent_amount == 4 * EACH
    december = NOVEMBER_NOON + timedelta(days=30)
    assert raise_alerts(now=december) == 0
    spend(tenant, calls=2, occurred_at=december)
    assert raise_alerts(now=december) == 1


def test_a_keys_budget_counts_that_key_a_days_that_day(tenant: Tenant) -> None:
    key = ApiKeyFactory.create(tenant=tenant)
    Budget.objects.create(tenant=tenant, api_key=key, soft_amount=2 * EACH)
    Budget.objects.create(tenant=tenant, period="day", soft_amount=3 * EACH)
    spend(tenant, calls=2)
    spend(tenant, api_key_id=key.pk)
    spend(tenant, occurred_at=NOVEMBER_NOON - timedelta(days=1), api_key_id=key.pk)
    spend(tenant, outcome="exact", calls=5)
    raise_alerts(now=NOVEMBER_NOON)
    assert sorted(BudgetAlert.objects.values_list("budget__period", "spent_amount")) == [
        ("day", 3 * EACH),
        ("month", 2 * EACH),
    ]


def test_an_alert_is_posted_signed_and_mailed(tenant: Tenant, receiver: Receiver) -> None:
    set_budget(
        tenant=tenant, period="month", soft_amount=EACH, webhook_url=receiver.url, email="ap@acme.example"
    )
    spend(tenant)
    raise_alerts(now=NOVEMBER_NOON)
    assert deliver_alerts(now=NOVEMBER_NOON) == 1
    (delivery,) = receiver.received
    alert = BudgetAlert.objects.get()
    said = msgspec.json.decode(delivery.body)
    assert said == {
        "id": f"budget_alert_{alert.pk}",
        "type": "budget.soft",
        "tenant": tenant.slug,
        "api_key": None,
        "period": "month",
        "period_start": "2026-11-01T00:00:00Z",
        "currency": "USD",
        "amount": "0.00065",
        "spent": "0.00065",
        "raised_at": "2026-11-10T12:00:00Z",
    }
    stamp, mac = delivery.headers["x-zerorate-signature"].split(",")
    assert stamp == f"t={int(NOVEMBER_NOON.timestamp())}"
    secret = Budget.objects.get().webhook_secret.encode()
    signed = stamp.removeprefix("t=").encode() + b"." + delivery.body
    assert mac == "v1=" + hmac.new(secret, signed, "sha256").hexdigest()
    (letter,) = mail.outbox
    assert letter.to == ["ap@acme.example"]
    assert "soft amount is reached" in letter.subject
    assert "0.00065 USD of 0.00065 USD" in letter.body
    assert deliver_alerts(now=NOVEMBER_NOON) == 0
    assert len(receiver.received) == 1


def test_what_was_not_taken_is_tried_again_each_way_on_its_own(tenant: Tenant, receiver: Receiver) -> None:
    receiver.answers = [500, 307, 204]
    set_budget(tenant=tenant, period="month", hard_amount=EACH, webhook_url=receiver.url, email="a@b.example")
    spend(tenant)
    raise_alerts(now=NOVEMBER_NOON)
    for answer in (500, 307):
        assert deliver_alerts(now=NOVEMBER_NOON) == 0
        assert BudgetAlert.objects.get().problem == f"webhook: The receiver answered {answer}."
    assert deliver_alerts(now=NOVEMBER_NOON) == 1
    alert = BudgetAlert.objects.get()
    assert (alert.attempts, alert.problem, alert.delivered_at) == (3, "", NOVEMBER_NOON)
    assert [delivery.path for delivery in receiver.received] == ["/hooks"] * 3  # no redirect was followed
    assert len(mail.outbox) == 1


def test_an_alert_is_given_up_after_three_days(tenant: Tenant, receiver: Receiver) -> None:
    receiver.answers = [500]
    set_budget(tenant=tenant, period="month", hard_amount=EACH, webhook_url=receiver.url)
    spend(tenant)
    raise_alerts(now=NOVEMBER_NOON)
    deliver_alerts(now=NOVEMBER_NOON + timedelta(days=2))
    deliver_alerts(now=NOVEMBER_NOON + timedelta(days=4))
    assert len(receiver.received) == 1


def test_a_receiver_that_does_not_answer_is_not_waited_for(receiver: Receiver) -> None:
    receiver.answers = [0]
    began = time.monotonic()
    with pytest.raises(WebhookNotTaken):
        outgoing.post(url=receiver.url, secret="s", content={}, sent_at=0, private_networks=True)
    assert time.monotonic() - began < outgoing.TIMEOUT_SECONDS + 3


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433:{port}/",
    ],
)
def test_private_addresses_are_not_posted_to(receiver: Receiver, url: str) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    with pytest.raises(WebhookNotTaken):
        outgoing.post(url=url.format(port=port), secret="s", content={}, sent_at=0)
    assert receiver.received == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "ftp://example.org/", "nonsense"])
def test_whatever_goes_wrong_is_said_so(url: str) -> None:
    with pytest.raises(WebhookNotTaken):
        outgoing.post(url=url, secret="s", content={}, sent_at=0, private_networks=True)


def test_the_sweep_raises_and_delivers(tenant: Tenant, receiver: Receiver) -> None:
    set_budget(tenant=tenant, period="day", hard_amount=EACH, webhook_url=receiver.url)
    spend(tenant, occurred_at=datetime.now(UTC))
    watch_budgets()
    watch_budgets()
    assert [msgspec.json.decode(one.body)["type"] for one in receiver.received] == ["budget.hard"]
