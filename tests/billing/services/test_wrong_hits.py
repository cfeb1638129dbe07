"""What proven wrong hits were charged comes back on the next invoice, each once, to the cent."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from billing.models import Invoice, Price, WrongHitCredit
from billing.selectors.verification import reconcile, verify_invoice
from billing.services.credits import issue_credit_note
from billing.services.invoicing import draft_invoice, finalise_invoice
from billing.services.payments import void_invoice
from billing.services.periods import close_period
from metering.models import WrongHit
from metering.services.rollups import roll_up
from metering.usage_event import UsageEvent
from tenants.models import Tenant
from tests.billing.conftest import DECEMBER, IN_DECEMBER, NOVEMBER, OCTOBER, bill, draft
from tests.factories.billing import PriceFactory, subscribed_tenant
from tests.factories.usage import NOVEMBER_NOON, prove_wrong, record, usage_event, use

OCTOBER_NOON = datetime(2026, 10, 10, 12, tzinfo=UTC)
IN_NOVEMBER = datetime(2026, 11, 2, tzinfo=UTC)
IN_JANUARY = datetime(2027, 1, 2, tzinfo=UTC)
DECEMBER_NOON = NOVEMBER_NOON + timedelta(days=30)
MILLION = 1_000_000
CENT = {"input": 100_000, "output": 0}
"""So many tokens cost 0.01 USD as a semantic hit at 80 % off."""

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def tenant(live_db: str) -> Tenant:
    return subscribed_tenant()


def hit(tenant: Tenant, **changes: Any) -> UsageEvent:
    return use(tenant.pk, **{"outcome": "semantic", "input": MILLION, "output": MILLION} | changes)


def credits_of(invoice: Invoice) -> list[tuple[Any, ...]]:
    lines = invoice.lines.filter(kind="wrong_hit").order_by("position")
    return list(lines.values_list("pool", "calls", "net_minor", "original_period_start"))


def assert_in_order(*invoices: Invoice) -> None:
    for invoice in invoices:
        assert verify_invoice(invoice=invoice) == []
        assert invoice.net_minor >= 0
    assert reconcile(period=None).agrees


def test_a_hit_proven_wrong_in_its_month_is_credited_on_the_invoice_of_that_month(tenant: Tenant) -> None:
    use(tenant.pk, input=MILLION, output=0)
    wrong = hit(tenant)
    hit(tenant)
    prove_wrong(wrong)
    invoice = bill(tenant)
    assert credits_of(invoice) == [("input", 1, -10, NOVEMBER.start), ("output", 1, -30, NOVEMBER.start)]
    assert (invoice.list_minor, invoice.discount_minor, invoice.net_minor) == (450, 360, 90)
    credit = invoice.wrong_hit_credits.get()
    assert (credit.wrong_hit.event_id, credit.charged_accrued) == (wrong.event_id, Decimal("0.4"))
    assert_in_order(invoice)


def test_after_its_month_was_invoiced_the_next_invoice_credits_it_and_names_the_month(tenant: Tenant) -> None:
    wrong = hit(tenant, occurred_at=OCTOBER_NOON)
    october = bill(tenant, OCTOBER, IN_NOVEMBER)
    prove_wrong(wrong)
    hit(tenant)
    november = bill(tenant)
    assert credits_of(october) == []
    assert credits_of(november) == [("input", 1, -10, OCTOBER.start), ("output", 1, -30, OCTOBER.start)]
    assert november.net_minor == 0
    assert_in_order(october, november)


def test_the_prices_of_the_moment_count_and_not_those_of_today(tenant: Tenant) -> None:
    wrong = hit(tenant, occurred_at=OCTOBER_NOON)
    bill(tenant, OCTOBER, IN_NOVEMBER)
    plan = Price.objects.filter(model="qwen").first()
    assert plan is not None
    with connection.cursor() as cursor:  # as an operator had planned it before anybody subscribed
        cursor.execute("ALTER TABLE billing_price DISABLE TRIGGER freeze_in_force")
        PriceFactory.create(
            plan=plan.plan, amount=Decimal(9), effective_from=OCTOBER_NOON + timedelta(days=25)
        )
        cursor.execute("ALTER TABLE billing_price ENABLE TRIGGER freeze_in_force")
    prove_wrong(wrong)
    hit(tenant)
    november = bill(tenant)
    assert credits_of(november) == [("input", 1, -10, OCTOBER.start), ("output", 1, -30, OCTOBER.start)]
    assert_in_order(november)


def test_each_wrong_hit_is_credited_once_for_ever(tenant: Tenant) -> None:
    wrong = hit(tenant)
    use(tenant.pk, input=10 * MILLION)
    prove_wrong(wrong)
    first = bill(tenant)
    use(tenant.pk, input=10 * MILLION, occurred_at=DECEMBER_NOON)
    for _ in range(3):
        december = draft(tenant, DECEMBER, IN_JANUARY)
    close_period(period=DECEMBER, now=IN_JANUARY, tenant=tenant)
    december.refresh_from_db()
    assert [credits_of(first) != [], credits_of(december)] == [True, []]
    with pytest.raises(IntegrityError), transaction.atomic():
        WrongHit.objects.create(
            tenant=tenant,
            event_id=wrong.event_id,
            occurred_at=wrong.occurred_at,
            model="qwen",
            source_event=wrong.event_id,
            similarity=1,
            score=1,
            reason="again",
        )
    assert_in_order(first, december)


def test_drafting_again_replaces_the_credits_of_the_draft(tenant: Tenant) -> None:
    prove_wrong(hit(tenant))
    draft(tenant)
    prove_wrong(hit(tenant))
    refreshed = draft(tenant)
    assert credits_of(refreshed) == [("input", 2, -20, NOVEMBER.start), ("output", 2, -60, NOVEMBER.start)]
    assert WrongHitCredit.objects.count() == 2
    refreshed.delete()
    assert not WrongHitCredit.objects.exists()


def test_a_free_hit_is_counted_and_gives_nothing_back(live_db: str) -> None:
    tenant = subscribed_tenant(semantic_percent="100")
    prove_wrong(hit(tenant))
    invoice = bill(tenant)
    assert credits_of(invoice) == [("input", 1, 0, NOVEMBER.start), ("output", 1, 0, NOVEMBER.start)]
    assert invoice.wrong_hit_credits.get().charged_accrued == 0
    assert_in_order(invoice)


def test_a_credit_that_would_take_the_invoice_below_zero_waits_for_the_next(tenant: Tenant) -> None:
    for _ in range(3):
        prove_wrong(hit(tenant, occurred_at=OCTOBER_NOON))
    with connection.cursor() as cursor:  # proven only after the month was closed
        cursor.execute("CREATE TEMPORARY TABLE proven AS SELECT * FROM metering_wronghit")
        cursor.execute("TRUNCATE metering_wronghit CASCADE")
    october = bill(tenant, OCTOBER, IN_NOVEMBER)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_wronghit (tenant_id, event_id, occurred_at, model, source_event, similarity,"
            " score, reason) SELECT tenant_id, event_id, occurred_at, model, source_event, similarity, score,"
            " reason FROM proven"
        )
    use(tenant.pk, input=MILLION, output=0)
    november = bill(tenant)
    use(tenant.pk, input=10 * MILLION, output=0, occurred_at=DECEMBER_NOON)
    december = bill(tenant, DECEMBER, IN_JANUARY)
    assert (october.net_minor, november.net_minor, december.net_minor) == (120, 10, 420)
    assert [invoice.wrong_hit_credits.count() for invoice in (november, december)] == [1, 2]
    assert_in_order(october, november, december)


def test_credits_alone_make_no_invoice(tenant: Tenant) -> None:
    wrong = hit(tenant, occurred_at=OCTOBER_NOON)
    bill(tenant, OCTOBER, IN_NOVEMBER)
    prove_wrong(wrong)
    roll_up(now=IN_DECEMBER)
    assert draft_invoice(tenant=tenant, period=NOVEMBER, now=IN_DECEMBER) is None


def test_thousandths_of_a_cent_add_up_over_the_invoices(tenant: Tenant) -> None:
    invoices = []
    for period, now in ((OCTOBER, IN_NOVEMBER), (NOVEMBER, IN_DECEMBER), (DECEMBER, IN_JANUARY)):
        at = period.start + timedelta(days=3)
        use(tenant.pk, input=MILLION, occurred_at=at)
        prove_wrong(hit(tenant, input=20_000, output=0, occurred_at=at))  # 0.002 USD
        invoices.append(bill(tenant, period, now))
    given_back = [[net_minor for _, _, net_minor, _ in credits_of(invoice)] for invoice in invoices]
    assert given_back == [[0], [0], [-1]]
    assert_in_order(*invoices)


def test_a_voided_invoice_gives_nothing_back_and_the_next_one_does(tenant: Tenant) -> None:
    wrong = hit(tenant, occurred_at=OCTOBER_NOON)
    october = bill(tenant, OCTOBER, IN_NOVEMBER)
    prove_wrong(wrong)
    use(tenant.pk, input=10 * MILLION)
    void = bill(tenant)
    assert void.wrong_hit_credits.get().stands
    void_invoice(invoice=void, now=IN_DECEMBER)
    assert not void.wrong_hit_credits.get().stands
    replacement = bill(tenant, NOVEMBER, IN_DECEMBER + timedelta(hours=1))
    assert credits_of(replacement) == credits_of(void)
    assert_in_order(october, replacement)
    assert verify_invoice(invoice=void) == []


def test_what_a_voided_month_did_not_charge_is_not_credited(tenant: Tenant) -> None:
    wrong = hit(tenant, occurred_at=OCTOBER_NOON)
    october = bill(tenant, OCTOBER, IN_NOVEMBER)
    void_invoice(invoice=october, now=IN_NOVEMBER)
    prove_wrong(wrong)
    hit(tenant)
    assert credits_of(bill(tenant)) == []


def test_a_late_hit_is_charged_and_credited_on_the_same_invoice(tenant: Tenant) -> None:
    use(tenant.pk, occurred_at=OCTOBER_NOON, input=MILLION)
    bill(tenant, OCTOBER, IN_NOVEMBER)
    prove_wrong(hit(tenant, occurred_at=OCTOBER_NOON))
    november = bill(tenant)
    assert list(november.lines.values_list("kind", "net_minor")) == [
        ("late_usage", 10),
        ("late_usage", 30),
        ("wrong_hit", -10),
        ("wrong_hit", -30),
    ]
    assert_in_order(november)


def test_a_proof_waits_for_its_event(tenant: Tenant) -> None:
    use(tenant.pk, input=MILLION)
    event = usage_event(tenant.pk, outcome="semantic", input=MILLION, output=0)
    prove_wrong(event)
    assert credits_of(draft(tenant)) == []
    record([event])
    assert credits_of(draft(tenant)) == [("input", 1, -10, NOVEMBER.start)]


def test_quarantined_hits_were_not_charged_and_are_not_credited(tenant: Tenant) -> None:
    use(tenant.pk, input=MILLION)
    prove_wrong(hit(tenant, quality="suspect"))
    prove_wrong(hit(tenant, model="unsold"))
    invoice = bill(tenant)
    assert credits_of(invoice) == []
    assert_in_order(invoice)


def test_only_semantic_hits_of_the_tenant_itself_are_credited(tenant: Tenant) -> None:
    stranger = subscribed_tenant()
    use(stranger.pk, input=10 * MILLION)
    prove_wrong(hit(tenant), tenant_id=stranger.pk)
    prove_wrong(use(tenant.pk, input=MILLION), source_event=usage_event(tenant.pk).event_id)
    assert credits_of(bill(tenant)) == credits_of(bill(stranger)) == []


def test_a_credit_note_can_return_the_rest_of_the_invoice_to_zero(tenant: Tenant) -> None:
    hit(tenant, **CENT)
    prove_wrong(hit(tenant))
    invoice = bill(tenant)
    assert invoice.net_minor == 1
    issue_credit_note(invoice=invoice, amount_minor=1, reason="kindness", now=IN_DECEMBER)
    invoice.refresh_from_db()
    assert invoice.status == Invoice.Status.PAID


def test_verification_sees_a_proof_that_is_gone_and_one_that_was_made_up(tenant: Tenant) -> None:
    proof = prove_wrong(hit(tenant))
    invoice = bill(tenant)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE metering_wronghit DISABLE TRIGGER append_only")
        cursor.execute("UPDATE metering_wronghit SET xact_id = 9223372036854775807")
        cursor.execute("ALTER TABLE metering_wronghit ENABLE TRIGGER append_only")
    said = [str(difference) for difference in verify_invoice(invoice=invoice)]
    assert any("wrong hit of 2026-11" in difference for difference in said)
    assert any(f"credit for wrong hit {proof.pk}" in difference for difference in said)


def test_the_database_refuses_a_second_standing_credit_and_any_edit(tenant: Tenant) -> None:
    proof = prove_wrong(hit(tenant))
    first = bill(tenant)
    use(tenant.pk, occurred_at=DECEMBER_NOON)
    second = draft(tenant, DECEMBER, IN_JANUARY)
    WrongHitCredit.objects.create(invoice=second, wrong_hit=proof, charged_accrued=1)
    with pytest.raises(IntegrityError, match="wrong_hit_credited_once"):
        finalise_invoice(invoice=second, now=IN_JANUARY)
    held = WrongHitCredit.objects.filter(invoice=first)
    for change in (
        lambda: held.update(charged_accrued=9),
        lambda: held.update(stands=False),
        held.delete,
        lambda: WrongHitCredit.objects.create(invoice=first, wrong_hit=proof, charged_accrued=1),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_a_draft_takes_no_credit_for_a_strangers_hit(tenant: Tenant) -> None:
    proof = prove_wrong(hit(subscribed_tenant()))
    hit(tenant)
    invoice = draft(tenant)
    with pytest.raises(DatabaseError, match="of the tenant whose hit was wrong"), transaction.atomic():
        WrongHitCredit.objects.create(invoice=invoice, wrong_hit=proof, charged_accrued=1)
