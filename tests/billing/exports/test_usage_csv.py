"""The usage CSV: each event with what it cost, as rating has it."""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.exports.usage_csv import usage_csv
from billing.models import HitDiscount, Invoice, Plan, Price
from billing.money import exact_sum
from billing.rating.price_book import PriceBook
from metering.periods import Period, month
from metering.tokens import BILLABLE
from metering.usage_event import OUTCOMES, QUALITIES
from tenants.models import ApiKey, Tenant
from tests.factories.billing import HitDiscountFactory, PlanFactory, PriceFactory, SubscriptionFactory
from tests.factories.tenants import ApiKeyFactory, TenantFactory
from tests.factories.usage import use

pytestmark = pytest.mark.django_db
NOVEMBER = month("2026-11")
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


def rows_of(tenant: Tenant, period: Period = NOVEMBER) -> list[dict[str, str]]:
    text = b"".join(usage_csv(tenant=tenant, period=period, now=timezone.now())).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def total(rows: Iterable[dict[str, str]], column: str) -> Decimal:
    return exact_sum(Decimal(row[column]) for row in rows)


@pytest.fixture
def tenant() -> Tenant:
    """Acme pays 0.50 in and 1.50 out per million; similar answers cost a fifth."""
    plan = PlanFactory.create()
    PriceFactory.create(plan=plan, pool="input", amount=Decimal("0.50"))
    PriceFactory.create(plan=plan, pool="output", amount=Decimal("1.50"))
    HitDiscountFactory.create(plan=plan, outcome="semantic", percent=Decimal(80))
    tenant: Tenant = TenantFactory.create(slug="acme")
    SubscriptionFactory.create(tenant=tenant, plan=plan)
    return tenant


def test_a_row_says_what_was_served_and_what_it_cost(tenant: Tenant) -> None:
    key = ApiKeyFactory.create(tenant=tenant, name="production")
    event = use(
        tenant.pk,
        api_key_id=key.pk,
        occurred_at=NOON + timedelta(microseconds=5),
        input=1_234,
        output=567,
        output_reasoning=67,
        latency_us=2_500,
    )
    (row,) = rows_of(tenant)
    pools = dict.fromkeys(BILLABLE, "0") | {"input": "1234", "output": "567"}
    amounts = {f"{pool}_{kind}": "0" for pool in BILLABLE for kind in ("list", "charged")} | {
        "input_list": "0.000617",
        "input_charged": "0.000617",
        "output_list": "0.0008505",
        "output_charged": "0.0008505",
    }
    assert row == pools | amounts | {
        "event_id": str(event.event_id),
        "request_id": str(event.event_id),
        "occurred_at": "2026-11-10T12:00:00.000005Z",
        "api_key": key.public_id,
        "api_key_name": "production",
        "model": "qwen",
        "model_version": "1",
        "outcome": "miss",
        "output_reasoning": "67",
        "quality": "reported",
        "source_event": "",
        "latency_us": "2500",
        "status": "200",
        "billed_as": "usage",
        "invoice": "",
        "quarantined_pools": "",
        "currency": "USD",
        "list": "0.0014675",
        "charged": "0.0014675",
        "saved": "0",
        "proven_wrong_at": "",
        "credited": "",
        "credited_on": "",
    }


def test_hits_cost_what_their_discount_leaves(tenant: Tenant) -> None:
    for minute, outcome in enumerate(("miss", "exact", "coalesced", "semantic", "bypass")):
        use(
            tenant.pk,
            outcome=outcome,
            occurred_at=NOON + timedelta(minutes=minute),
            input=1_000_000,
            output=0,
        )
    rows = rows_of(tenant)
    assert [row["charged"] for row in rows] == ["0.5", "0", "0", "0.1", "0.5"]
    assert [row["saved"] for row in rows] == ["0", "0.5", "0.5", "0.4", "0"]


def test_rows_come_as_they_occurred_and_only_those_of_the_period(tenant: Tenant) -> None:
    instants = [
        NOVEMBER.start - timedelta(microseconds=1),
        NOVEMBER.start,
        NOON,
        NOON + timedelta(days=3),
        NOVEMBER.end - timedelta(microseconds=1),
        NOVEMBER.end,
    ]
    for instant in reversed(instants):
        use(tenant.pk, occurred_at=instant)
    occurred = [datetime.fromisoformat(row["occurred_at"]) for row in rows_of(tenant)]
    assert occurred == instants[1:-1]


def test_a_period_within_a_day_is_cut_to_the_microsecond(tenant: Tenant) -> None:
    for minutes in (0, 15, 30):
        use(tenant.pk, occurred_at=NOON + timedelta(minutes=minutes))
    rows = rows_of(tenant, Period(NOON, NOON + timedelta(minutes=30)))
    assert [row["occurred_at"][11:16] for row in rows] == ["12:00", "12:15"]


def test_nothing_used_is_a_header_alone(tenant: Tenant) -> None:
    assert b"".join(usage_csv(tenant=tenant, period=NOVEMBER, now=timezone.now())).startswith(
        b"event_id,request_id,occurred_at,"
    )
    assert rows_of(tenant) == []


def test_others_usage_is_not_in_it(tenant: Tenant) -> None:
    stranger = TenantFactory.create()
    use(stranger.pk)
    mine = use(tenant.pk)
    assert [row["event_id"] for row in rows_of(tenant)] == [str(mine.event_id)]


def test_a_price_cut_at_quarter_past_counts_from_quarter_past(tenant: Tenant) -> None:
    later = TenantFactory.create()
    plan = PlanFactory.create()
    PriceFactory.create(plan=plan, amount=Decimal("0.50"))
    PriceFactory.create(plan=plan, amount=Decimal("0.05"), effective_from=NOON + timedelta(minutes=15))
    SubscriptionFactory.create(tenant=later, plan=plan)
    for instant in (NOON + timedelta(minutes=15) - timedelta(microseconds=1), NOON + timedelta(minutes=15)):
        use(later.pk, occurred_at=instant, input=1_000_000, output=0)
    assert [row["list"] for row in rows_of(later)] == ["0.5", "0.05"]


def test_a_change_of_plan_changes_the_price(tenant: Tenant) -> None:
    mover = TenantFactory.create()
    for amount, starts_at, ends_at in (
        ("1", NOVEMBER.start, NOON),
        ("2", NOON, NOON + timedelta(days=1)),
    ):
        plan = PlanFactory.create()
        PriceFactory.create(plan=plan, amount=Decimal(amount))
        SubscriptionFactory.create(tenant=mover, plan=plan, starts_at=starts_at, ends_at=ends_at)
    for days in (-1, 0, 1):
        use(mover.pk, occurred_at=NOON + timedelta(days=days), input=1_000_000, output=0)
    rows = rows_of(mover)
    assert [(row["currency"], row["list"]) for row in rows] == [("USD", "1"), ("USD", "2"), ("", "0")]
    assert rows[2]["quarantined_pools"] == "input"


def test_suspect_usage_is_quarantined_and_costs_nothing(tenant: Tenant) -> None:
    use(tenant.pk, quality="suspect", input=10, output=20)
    (row,) = rows_of(tenant)
    assert row["quality"] == "suspect"
    assert row["quarantined_pools"] == "input output"
    assert [row[column] for column in ("input", "output", "list", "charged", "saved")] == [
        "10",
        "20",
        "0",
        "0",
        "0",
    ]


def test_a_pool_without_a_price_is_quarantined_and_the_others_are_charged(tenant: Tenant) -> None:
    use(tenant.pk, input=1_000_000, output=0, cache_read=7, units=3)
    (row,) = rows_of(tenant)
    assert row["quarantined_pools"] == "cache_read units"
    assert row["list"] == row["charged"] == "0.5"


def test_a_model_without_a_price_is_quarantined(tenant: Tenant) -> None:
    use(tenant.pk, model="unheard-of", input=1, output=0)
    (row,) = rows_of(tenant)
    assert (row["quarantined_pools"], row["list"]) == ("input", "0")


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ('=HYPERLINK("http://evil")', '\'=HYPERLINK("http://evil")'),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\t=1", "' =1"),
        ("two\r\nlines", "'two lines"),
        ('a "quoted", name', 'a "quoted", name'),
        ("a=b", "a=b"),
        ("Café 東京", "Café 東京"),
    ],
)
def test_what_people_typed_is_no_formula(tenant: Tenant, typed: str, written: str) -> None:
    key: ApiKey = ApiKeyFactory.create(tenant=tenant, name=typed)
    use(tenant.pk, api_key_id=key.pk, model=typed, model_version=typed)
    (row,) = rows_of(tenant)
    assert [row[column] for column in ("api_key_name", "model", "model_version")] == [written] * 3


def next_transaction() -> int:
    """Return the id of the running transaction: events recorded in it bear it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (number,) = cursor.fetchone()
    return int(number)


def finalised(tenant: Tenant, number: str, period: Period, watermark: int) -> Invoice:
    now = timezone.now()
    invoice = Invoice.objects.create(
        tenant=tenant,
        period_start=period.start,
        period_end=period.end,
        currency="USD",
        usage_watermark=watermark,
        priced_at=now,
        price_book_version="0" * 64,
        drafted_at=now,
    )
    invoice.number, invoice.status, invoice.finalised_at = number, Invoice.Status.OPEN, now
    invoice.save()
    return invoice


class TestWhichInvoice:
    """All events of a test bear its one transaction, so it is the watermarks that are moved around it."""

    DECEMBER = month("2026-12")
    JANUARY = month("2027-01")

    def billed(self, tenant: Tenant) -> tuple[str, str]:
        (row,) = rows_of(tenant)
        return row["billed_as"], row["invoice"]

    @pytest.fixture(autouse=True)
    def november_event(self, tenant: Tenant) -> None:
        use(tenant.pk, occurred_at=NOON)

    def test_usage_on_its_months_invoice(self, tenant: Tenant) -> None:
        finalised(tenant, "ZR-1", NOVEMBER, next_transaction() + 1)
        finalised(tenant, "ZR-2", self.DECEMBER, next_transaction() + 2)
        assert self.billed(tenant) == ("usage", "ZR-1")

    def test_late_usage_on_the_next(self, tenant: Tenant) -> None:
        finalised(tenant, "ZR-1", NOVEMBER, next_transaction())
        finalised(tenant, "ZR-2", self.DECEMBER, next_transaction())
        finalised(tenant, "ZR-3", self.JANUARY, next_transaction() + 1)
        assert self.billed(tenant) == ("late_usage", "ZR-3")

    def test_late_usage_that_waits_for_an_invoice(self, tenant: Tenant) -> None:
        finalised(tenant, "ZR-1", NOVEMBER, next_transaction())
        assert self.billed(tenant) == ("late_usage", "")

    def test_usage_of_a_month_without_an_invoice(self, tenant: Tenant) -> None:
        finalised(tenant, "ZR-2", self.DECEMBER, next_transaction() + 1)
        assert self.billed(tenant) == ("usage", "")

    def test_a_void_invoice_is_none(self, tenant: Tenant) -> None:
        invoice = finalised(tenant, "ZR-1", NOVEMBER, next_transaction() + 1)
        invoice.status = Invoice.Status.VOID
        invoice.save()
        assert self.billed(tenant) == ("usage", "")

    def test_a_strangers_invoice_is_none(self, tenant: Tenant) -> None:
        finalised(TenantFactory.create(), "ZR-1", NOVEMBER, next_transaction() + 1)
        assert self.billed(tenant) == ("usage", "")


# Prices in force at three instants of one day, so that random events fall before, between and after them.
INSTANTS = [datetime(2026, 11, 9, tzinfo=UTC), NOON, NOON + timedelta(hours=3, microseconds=1)]
instants = st.datetimes(datetime(2026, 11, 8), datetime(2026, 11, 12), timezones=st.just(UTC))  # noqa: DTZ001
counts = st.integers(0, 10**12)
prices = st.lists(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from(["a", "b"]),
            "pool": st.sampled_from(BILLABLE),
            "amount": st.decimals(0, 10**6, places=12, allow_nan=False),
            "per": st.sampled_from([1, 1_000, 1_000_000, 10**12]),
            "effective_from": st.sampled_from(INSTANTS),
        }
    ),
    max_size=20,
    unique_by=lambda price: (price["model"], price["pool"], price["effective_from"]),
)
discounts = st.lists(
    st.fixed_dictionaries(
        {
            "outcome": st.sampled_from(["exact", "coalesced", "semantic"]),
            "model": st.sampled_from(["", "a", "b"]),
            "pool": st.sampled_from(["", *BILLABLE]),
            "percent": st.decimals(0, 100, places=4, allow_nan=False),
            "effective_from": st.sampled_from(INSTANTS),
        }
    ),
    max_size=8,
    unique_by=lambda row: (row["outcome"], row["model"], row["pool"], row["effective_from"]),
)
events = st.lists(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from(["a", "b", "c"]),
            "outcome": st.sampled_from(OUTCOMES),
            "quality": st.sampled_from(QUALITIES),
            "occurred_at": instants | st.sampled_from(INSTANTS),
            **dict.fromkeys(BILLABLE, counts),
        }
    ),
    min_size=1,
    max_size=10,
)


@given(prices=prices, discounts=discounts, events=events)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_database_multiplies_what_rating_would_charge(
    db: None, prices: list[dict[str, Any]], discounts: list[dict[str, Any]], events: list[dict[str, Any]]
) -> None:
    """For random prices, discounts and events each amount is billing.rating's, to the last digit."""
    with transaction.atomic():
        tenant: Tenant = TenantFactory.create()
        plan: Plan = PlanFactory.create()
        Price.objects.bulk_create(Price(plan=plan, **price) for price in prices)
        HitDiscount.objects.bulk_create(HitDiscount(plan=plan, **row) for row in discounts)
        SubscriptionFactory.create(tenant=tenant, plan=plan)
        book = PriceBook.from_rows(currency="USD", prices=prices, hit_discounts=discounts)
        recorded = {str(use(tenant.pk, **event).event_id): event for event in events}
        rows = rows_of(tenant)
        assert {row["event_id"] for row in rows} == set(recorded)
        for row in rows:
            check_amounts(row, recorded[row["event_id"]], book)
        transaction.set_rollback(True)


def check_amounts(row: dict[str, str], event: dict[str, Any], book: PriceBook) -> None:
    rated = {
        pool: book.rate(
            model=event["model"],
            pool=pool,
            outcome=event["outcome"],
            quantity=event[pool],
            instant=event["occurred_at"],
        )
        for pool in BILLABLE
        if event["quality"] != "suspect"
    }
    for pool in BILLABLE:
        part = rated.get(pool)
        assert Decimal(row[f"{pool}_list"]) == (part.list if part else 0)
        assert Decimal(row[f"{pool}_charged"]) == (part.charged if part else 0)
    parts = [part for part in rated.values() if part is not None]
    assert Decimal(row["list"]) == exact_sum(part.list for part in parts)
    assert Decimal(row["charged"]) == exact_sum(part.charged for part in parts)
    assert Decimal(row["saved"]) == exact_sum(part.discount for part in parts)
    quarantined = [pool for pool in BILLABLE if event[pool] and rated.get(pool) is None]
    assert row["quarantined_pools"] == " ".join(quarantined)


def test_a_hit_does_not_name_the_call_of_another_tenant_of_the_pool(tenant: Tenant) -> None:
    paid = use(tenant.pk, occurred_at=NOON)
    for raw_usage in (None, b'{"round_digits": 3}', b'{"pool": "public"}'):
        use(
            tenant.pk,
            outcome="exact",
            occurred_at=NOON + timedelta(minutes=1),
            source_event=paid.event_id,
            raw_usage=raw_usage,
        )
    assert sorted(row["source_event"] for row in rows_of(tenant)) == ["", "", *[str(paid.event_id)] * 2]
