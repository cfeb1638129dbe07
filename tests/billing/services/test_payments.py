"""Final invoices are paid, voided or written off."""

from datetime import timedelta

import pytest

from billing.errors import InvoiceNotOwed, PaymentRefused
from billing.models import Invoice, Payment
from billing.services.credits import issue_credit_note
from billing.services.payments import mark_uncollectible, record_payment, void_invoice
from tests.billing.conftest import IN_DECEMBER, bill, draft
from tests.factories.billing import subscribed_tenant
from tests.factories.usage import use

LATER = IN_DECEMBER + timedelta(days=3)
pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def invoice(live_db: str) -> Invoice:
    """Give an open invoice of 1.00 USD."""
    tenant = subscribed_tenant()
    use(tenant.pk, input=2_000_000, output=0)
    return bill(tenant)


def pay(invoice: Invoice, amount_minor: int, reference: str = "") -> Payment:
    return record_payment(
        invoice=invoice,
        amount_minor=amount_minor,
        method="bank_transfer",
        reference=reference,
        received_at=LATER,
    )


def status_of(invoice: Invoice) -> str:
    return Invoice.objects.get(pk=invoice.pk).status


def test_the_full_amount_pays_the_invoice(invoice: Invoice) -> None:
    pay(invoice, 100)
    paid = Invoice.objects.get()
    assert (paid.status, paid.paid_at) == ("paid", LATER)


def test_parts_pay_it_with_the_last(invoice: Invoice) -> None:
    pay(invoice, 60)
    assert status_of(invoice) == "open"
    pay(invoice, 40)
    assert status_of(invoice) == "paid"


@pytest.mark.parametrize("amount", [0, -1, 101])
def test_nothing_and_too_much_are_refused(invoice: Invoice, amount: int) -> None:
    with pytest.raises(PaymentRefused, match=r"owes 1\.00 USD"):
        pay(invoice, amount)
    assert not Payment.objects.exists()
    assert status_of(invoice) == "open"


def test_the_same_payment_told_twice_is_one(invoice: Invoice) -> None:
    assert pay(invoice, 100, "BANK-1") == pay(invoice, 100, "BANK-1")
    with pytest.raises(PaymentRefused, match="another amount"):
        pay(invoice, 99, "BANK-1")
    assert Payment.objects.count() == 1


def test_payments_without_a_reference_are_each_their_own(invoice: Invoice) -> None:
    pay(invoice, 10)
    pay(invoice, 10)
    assert Payment.objects.count() == 2


def test_a_paid_invoice_takes_no_more(invoice: Invoice) -> None:
    pay(invoice, 100)
    with pytest.raises(InvoiceNotOwed, match="is paid"):
        pay(invoice, 1)


def test_a_draft_is_not_paid() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, input=2_000_000)
    with pytest.raises(InvoiceNotOwed, match="is draft"):
        pay(draft(tenant), 1)


def test_a_voided_invoice_is_owed_by_nobody(invoice: Invoice) -> None:
    voided = void_invoice(invoice=invoice, now=LATER)
    assert (voided.status, voided.voided_at, voided.number) == ("void", LATER, invoice.number)
    for refused in (lambda: pay(invoice, 100), lambda: void_invoice(invoice=invoice, now=LATER)):
        with pytest.raises(InvoiceNotOwed):
            refused()


def test_an_invoice_with_money_on_it_is_not_voided(invoice: Invoice) -> None:
    pay(invoice, 1)
    with pytest.raises(InvoiceNotOwed, match="credit note"):
        void_invoice(invoice=invoice, now=LATER)
    assert status_of(invoice) == "open"


def test_an_uncollectible_invoice_may_still_be_paid(invoice: Invoice) -> None:
    mark_uncollectible(invoice=invoice, now=LATER)
    assert status_of(invoice) == "uncollectible"
    with pytest.raises(InvoiceNotOwed):
        mark_uncollectible(invoice=invoice, now=LATER)
    pay(invoice, 100)
    assert status_of(invoice) == "paid"


def test_what_was_credited_is_not_owed(invoice: Invoice) -> None:
    issue_credit_note(invoice=invoice, amount_minor=30, reason="goodwill", now=LATER)
    with pytest.raises(PaymentRefused, match=r"0\.70"):
        pay(invoice, 71)
    pay(invoice, 70)
    assert status_of(invoice) == "paid"
