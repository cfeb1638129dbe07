"""Invoices are drafted from rollups, finalised with gapless numbers, and bill late usage late."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.models import Max

from billing.errors import (
    DraftOutdated,
    EarlierPeriodOpen,
    InvoicedUsageChanged,
    InvoiceNotDraft,
    NoPlan,
    PeriodAlreadyClosed,
)
from billing.models import Invoice, InvoiceLine, Price, Subscription
from billing.services.invoicing import draft_invoice, finalise_invoice
from billing.services.payments import void_invoice
from metering.services.rollups import roll_up
from tenants.models import Tenant
from tests.billing.conftest import DECEMBER, IN_DECEMBER, NOVEMBER, OCTOBER, bill, draft
from tests.factories.billing import PlanFactory, PriceFactory, subscribed_tenant
from tests.factories.tenants import TenantFactory
from tests.factories.usage import NOVEMBER_NOON, use

OCTOBER_NOON = datetime(2026, 10, 10, 12, tzinfo=UTC)
IN_NOVEMBER = datetime(2026, 11, 2, tzinfo=UTC)
IN_JANUARY = datetime(2027, 1, 2, tzinfo=UTC)
MILLION = 1_000_000

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def tenant(live_db: str) -> Tenant:
    return subscribed_tenant()


def million(tenant: Tenant, **changes: Any) -> None:
    use(tenant.pk, **{"input": MILLION, "output": 0} | changes)


def lines_of(invoice: Invoice, *fields: str) -> list[tuple[Any, ...]]:
    return list(invoice.lines.order_by("position").values_list(*fields))


def test_a_hit_stands_at_nothing_with_what_it_saved(tenant: Tenant) -> None:
    million(tenant)
    million(tenant, outcome="exact")
    million(tenant, outcome="semantic")
    invoice = draft(tenant)
    assert lines_of(
        invoice, "kind", "outcome", "quantity", "calls", "list_minor", "discount_minor", "net_minor"
    ) == [
        ("usage", "miss", MILLION, 1, 50, 0, 50),
        ("usage", "exact", MILLION, 1, 50, 50, 0),
        ("usage", "semantic", MILLION, 1, 50, 40, 10),
    ]
    assert (invoice.list_minor, invoice.discount_minor, invoice.net_minor) == (150, 90, 60)
    assert (invoice.status, invoice.number, invoice.currency) == ("draft", None, "USD")


def test_without_usage_there_is_no_invoice(tenant: Tenant) -> None:
    assert draft_invoice(tenant=tenant, period=NOVEMBER, now=IN_DECEMBER) is None
    assert not Invoice.objects.exists()


def test_a_stranger_is_not_on_the_invoice(tenant: Tenant) -> None:
    stranger = subscribed_tenant()
    million(tenant)
    million(stranger, input=7 * MILLION)
    assert draft(tenant).net_minor == 50
    assert draft(stranger).net_minor == 350


def test_drafting_again_refreshes_the_draft(tenant: Tenant) -> None:
    million(tenant)
    first = draft(tenant)
    same = draft(tenant)
    million(tenant)
    refreshed = draft(tenant)
    assert first.pk == same.pk == refreshed.pk
    assert (first.net_minor, refreshed.net_minor) == (50, 100)
    assert InvoiceLine.objects.count() == 1


def test_small_calls_add_up_before_they_are_rounded(tenant: Tenant) -> None:
    for _ in range(25):
        use(tenant.pk, input=400, output=0)
    line = draft(tenant).lines.get()
    assert (line.list_accrued, line.net_minor) == (Decimal("0.005"), 1)


def test_quarantined_usage_is_shown_and_never_charged(tenant: Tenant) -> None:
    million(tenant)
    million(tenant, quality="suspect", input=9 * MILLION)
    million(tenant, quality="suspect", model="ocr", input=0)
    million(tenant, cache_write=5, input=0)
    million(tenant, model="unsold", input=3)
    invoice = draft(tenant)
    suspect, unpriced = "The upstream's usage report contradicts itself.", "The plan had no price for it."
    assert lines_of(invoice, "kind", "model", "pool", "quantity", "net_minor", "reason") == [
        ("usage", "qwen", "input", MILLION, 50, ""),
        ("quarantined", "ocr", "input", 0, 0, suspect),
        ("quarantined", "qwen", "input", 9 * MILLION, 0, suspect),
        ("quarantined", "qwen", "cache_write", 5, 0, unpriced),
        ("quarantined", "unsold", "input", 3, 0, unpriced),
    ]
    assert invoice.list_minor == invoice.net_minor == 50


def test_estimated_usage_has_a_line_of_its_own(tenant: Tenant) -> None:
    million(tenant)
    million(tenant, quality="estimated")
    assert lines_of(draft(tenant), "quality", "net_minor") == [("reported", 50), ("estimated", 50)]


def test_a_price_cut_within_an_hour_splits_the_hour(tenant: Tenant) -> None:
    quarter_past = NOVEMBER_NOON + timedelta(minutes=15)
    with frozen_price_book_off():
        plan = Subscription.objects.get(tenant=tenant).plan
        PriceFactory.create(plan=plan, amount=Decimal("0.05"), effective_from=quarter_past)
    million(tenant, occurred_at=quarter_past - timedelta(microseconds=1))
    million(tenant, occurred_at=quarter_past)
    million(tenant, occurred_at=quarter_past + timedelta(minutes=50))
    assert lines_of(draft(tenant), "unit_amount", "quantity", "net_minor") == [
        (Decimal("0.50"), MILLION, 50),
        (Decimal("0.05"), 2 * MILLION, 10),
    ]


def test_events_of_a_cut_hour_count_only_below_the_watermark(tenant: Tenant) -> None:
    with frozen_price_book_off():
        plan = Subscription.objects.get(tenant=tenant).plan
        PriceFactory.create(
            plan=plan, amount=Decimal("0.05"), effective_from=NOVEMBER_NOON + timedelta(minutes=15)
        )
    million(tenant)
    roll_up(now=IN_DECEMBER)
    million(tenant)
    drafted = draft_invoice(tenant=tenant, period=NOVEMBER, now=IN_DECEMBER)
    assert drafted is not None
    assert drafted.net_minor == 50


def test_a_change_of_plan_rates_each_call_by_the_plan_of_its_instant(tenant: Tenant) -> None:
    dear = PlanFactory.create()
    PriceFactory.create(plan=dear, amount=Decimal(2))
    change = NOVEMBER_NOON + timedelta(minutes=30)
    Subscription.objects.filter(tenant=tenant).update(ends_at=change)
    Subscription.objects.create(tenant=tenant, plan=dear, starts_at=change)
    million(tenant, occurred_at=change - timedelta(microseconds=1))
    million(tenant, occurred_at=change)
    assert lines_of(draft(tenant), "unit_amount", "net_minor") == [(Decimal(2), 200), (Decimal("0.5"), 50)]


def test_usage_between_two_plans_is_quarantined(tenant: Tenant) -> None:
    Subscription.objects.filter(tenant=tenant).update(ends_at=NOVEMBER_NOON)
    million(tenant, occurred_at=NOVEMBER_NOON - timedelta(hours=1))
    million(tenant)
    assert lines_of(draft(tenant), "kind", "net_minor", "reason") == [
        ("usage", 50, ""),
        ("quarantined", 0, "No plan was in force."),
    ]


def test_usage_of_a_tenant_that_never_had_a_plan_is_refused() -> None:
    stranger = TenantFactory.create()
    million(stranger)
    with pytest.raises(NoPlan, match="2026-11"):
        draft(stranger)


def test_numbers_are_gapless_by_year_also_when_finalising_fails(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON)
    million(tenant)
    assert bill(tenant, OCTOBER, IN_NOVEMBER).number == "INV-2026-000001"
    november = draft(tenant)
    InvoiceLine.objects.filter(invoice=november).update(net_minor=51, list_minor=51)
    with pytest.raises(DatabaseError, match="sums of its lines"):
        finalise_invoice(invoice=november, now=IN_DECEMBER)
    assert bill(tenant).number == "INV-2026-000002"
    million(tenant, occurred_at=NOVEMBER_NOON + timedelta(days=30))
    assert bill(tenant, DECEMBER, IN_JANUARY).number == "INV-2027-000001"


def test_finalising_sets_the_invoice_open_and_due(tenant: Tenant) -> None:
    million(tenant)
    invoice = bill(tenant)
    assert (invoice.status, invoice.finalised_at, invoice.paid_at) == ("open", IN_DECEMBER, None)
    assert invoice.due_at == IN_DECEMBER + timedelta(days=30)
    with pytest.raises(InvoiceNotDraft, match="INV-2026-000001 is open"):
        finalise_invoice(invoice=invoice, now=IN_DECEMBER)


def test_an_invoice_of_nothing_is_paid_at_once(tenant: Tenant) -> None:
    million(tenant, outcome="exact")
    invoice = bill(tenant)
    assert (invoice.status, invoice.net_minor, invoice.discount_minor) == ("paid", 0, 50)


def test_a_final_invoice_cannot_be_changed_by_anybody(tenant: Tenant) -> None:
    million(tenant)
    invoice = bill(tenant)
    for change in (
        lambda: Invoice.objects.filter(pk=invoice.pk).update(net_minor=1, list_minor=1),
        lambda: invoice.lines.update(net_minor=1, list_minor=1),
        lambda: invoice.lines.all().delete(),
        lambda: Invoice.objects.filter(pk=invoice.pk).delete(),
    ):
        with pytest.raises(DatabaseError):
            change()
    with pytest.raises(PeriodAlreadyClosed, match="INV-2026-000001"):
        draft(tenant)
    assert Invoice.objects.get().net_minor == 50


def test_late_usage_is_billed_next_month_at_the_prices_of_its_own(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON)
    october = bill(tenant, OCTOBER, IN_NOVEMBER)
    with frozen_price_book_off():
        plan = Subscription.objects.get(tenant=tenant).plan
        PriceFactory.create(plan=plan, amount=Decimal(5), effective_from=NOVEMBER.start)
    million(tenant)
    million(tenant, occurred_at=OCTOBER_NOON, input=3 * MILLION)
    million(tenant, occurred_at=OCTOBER_NOON, input=4 * MILLION, outcome="exact")
    november = bill(tenant)
    fields = (
        "kind",
        "original_period_start",
        "outcome",
        "unit_amount",
        "quantity",
        "list_minor",
        "net_minor",
    )
    assert lines_of(november, *fields) == [
        ("usage", None, "miss", Decimal(5), MILLION, 500, 500),
        ("late_usage", OCTOBER.start, "miss", Decimal("0.5"), 3 * MILLION, 150, 150),
        ("late_usage", OCTOBER.start, "exact", Decimal("0.5"), 4 * MILLION, 200, 0),
    ]
    assert Invoice.objects.get(pk=october.pk).net_minor == 50
    million(tenant, occurred_at=DECEMBER.start)
    assert {kind for (kind,) in lines_of(bill(tenant, DECEMBER, IN_JANUARY), "kind")} == {"usage"}


def test_late_usage_alone_makes_an_invoice(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON)
    bill(tenant, OCTOBER, IN_NOVEMBER)
    million(tenant, occurred_at=OCTOBER_NOON)
    assert lines_of(bill(tenant), "kind", "net_minor") == [("late_usage", 50)]


def test_late_quarantined_usage_is_shown_once(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON, quality="suspect")
    bill(tenant, OCTOBER, IN_NOVEMBER)
    million(tenant, occurred_at=OCTOBER_NOON, quality="suspect", input=7)
    million(tenant)
    assert lines_of(bill(tenant), "kind", "quantity") == [("usage", MILLION), ("quarantined", 7)]
    million(tenant, occurred_at=DECEMBER.start)
    assert lines_of(bill(tenant, DECEMBER, IN_JANUARY), "kind") == [("usage",)]


def test_quarantined_usage_is_billed_late_once_its_pool_has_a_price(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON, input=0, cache_write=MILLION)
    assert bill(tenant, OCTOBER, IN_NOVEMBER).net_minor == 0
    plan = Subscription.objects.get(tenant=tenant).plan
    PriceFactory.create(plan=plan, pool="cache_write", amount=Decimal("0.625"), effective_from=OCTOBER.start)
    million(tenant)
    assert lines_of(bill(tenant), "kind", "pool", "net_minor") == [
        ("usage", "input", 50),
        ("late_usage", "cache_write", 63),
    ]


def test_months_are_closed_in_order(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON)
    million(tenant)
    with pytest.raises(EarlierPeriodOpen, match="close 2026-10 first"):
        draft(tenant)
    draft(tenant, OCTOBER, IN_NOVEMBER)
    with pytest.raises(EarlierPeriodOpen):
        draft(tenant)


def test_a_voided_invoice_is_billed_again_without_what_stands_elsewhere(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON)
    october = bill(tenant, OCTOBER, IN_NOVEMBER)
    million(tenant, occurred_at=OCTOBER_NOON, input=3 * MILLION)
    assert bill(tenant).net_minor == 150
    void_invoice(invoice=october, now=IN_DECEMBER)
    again = bill(tenant, OCTOBER, IN_DECEMBER + timedelta(hours=1))
    assert lines_of(again, "kind", "quantity", "net_minor") == [("usage", MILLION, 50)]


def test_a_voided_month_does_not_hold_up_the_next(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON)
    void_invoice(invoice=bill(tenant, OCTOBER, IN_NOVEMBER), now=IN_NOVEMBER)
    million(tenant)
    assert lines_of(bill(tenant), "kind", "quantity") == [("usage", MILLION)]


def test_a_draft_made_before_another_invoice_ended_is_outdated(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON)
    october = bill(tenant, OCTOBER, IN_NOVEMBER)
    million(tenant)
    outdated = draft(tenant)
    void_invoice(invoice=october, now=IN_DECEMBER + timedelta(seconds=1))
    with pytest.raises(DraftOutdated):
        finalise_invoice(invoice=outdated, now=IN_DECEMBER + timedelta(seconds=2))
    refreshed = draft(tenant, now=IN_DECEMBER + timedelta(seconds=3))
    assert finalise_invoice(invoice=refreshed, now=IN_DECEMBER + timedelta(seconds=4)).net_minor == 50


def test_a_plan_rewritten_under_an_invoice_stops_the_next_one(tenant: Tenant) -> None:
    million(tenant, occurred_at=OCTOBER_NOON)
    bill(tenant, OCTOBER, IN_NOVEMBER)
    other = PlanFactory.create()
    PriceFactory.create(plan=other, amount=Decimal(9))
    Subscription.objects.filter(tenant=tenant).update(plan=other)
    million(tenant)
    with pytest.raises(InvoicedUsageChanged, match="2026-10"):
        draft(tenant)
    assert Invoice.objects.count() == 1


def test_parallel_drafts_and_finalisings_make_one_invoice_each(tenant: Tenant) -> None:
    tenants = [tenant, *(subscribed_tenant() for _ in range(3))]
    for known in tenants:
        million(known)
    roll_up(now=IN_DECEMBER)

    def close(known: Tenant) -> None:
        drafted = draft_invoice(tenant=known, period=NOVEMBER, now=IN_DECEMBER)
        assert drafted is not None
        finalise_invoice(invoice=drafted, now=IN_DECEMBER)

    errors = in_threads([partial(close, known) for known in tenants for _ in range(3)])
    assert all(isinstance(error, PeriodAlreadyClosed | InvoiceNotDraft | DraftOutdated) for error in errors)
    numbers = Invoice.objects.order_by("number").values_list("number", flat=True)
    assert list(numbers) == [f"INV-2026-{index:06d}" for index in range(1, 5)]
    assert Invoice.objects.aggregate(most=Max("net_minor"))["most"] == 50


def in_threads(calls: list[Callable[[], None]]) -> list[Exception]:
    errors: list[Exception] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 (the test looks at each)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


class frozen_price_book_off:  # noqa: N801 (reads as a statement)
    """Let a test say what happened in the past, which the database rightly refuses."""

    def __enter__(self) -> None:
        self._set("DISABLE")

    def __exit__(self, *_error: object) -> None:
        self._set("ENABLE")

    def _set(self, state: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {Price._meta.db_table} {state} TRIGGER freeze_in_force")
