"""Both sides of an invoice are kept in step, whichever ended first."""

import pytest

from billing.errors import InvoiceNotOwed, StripeDisagrees, StripeUnavailable
from billing.models import Invoice, Payment, StripeInvoice
from billing.services.collection import align_invoice, push_invoice
from billing.services.credits import issue_credit_note
from billing.services.payments import mark_uncollectible, record_payment, void_invoice
from tests.billing.stripe.conftest import NOW, MakeInvoice
from tests.fakes.stripe.server import FakeStripe, lose_connection

PAY = "POST /v1/invoices/{id}/pay"
ENDS = ["paid", "void", "uncollectible"]


@pytest.fixture
def row(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> StripeInvoice:
    """Give an invoice that is open on both sides."""
    return push_invoice(invoice=make_invoice(), now=NOW)


def end_here(invoice: Invoice, status: str) -> None:
    match status:
        case "paid":
            record_payment(
                invoice=invoice, amount_minor=invoice.net_minor, method="cash", reference="", received_at=NOW
            )
        case "void":
            void_invoice(invoice=invoice, now=NOW)
        case "uncollectible":
            mark_uncollectible(invoice=invoice, now=NOW)


def end_there(fake_stripe: FakeStripe, stripe_id: str | None, status: str) -> None:
    account = fake_stripe.account
    ends = {"paid": account.collect, "void": account.void, "uncollectible": account.mark_uncollectible}
    ends[status](stripe_id or "")


def statuses(fake_stripe: FakeStripe, row: StripeInvoice) -> tuple[str, str, str]:
    row.refresh_from_db()
    row.invoice.refresh_from_db()
    return row.invoice.status, fake_stripe.account.invoices[row.stripe_id or ""]["status"], row.stripe_status


@pytest.mark.parametrize("status", ENDS)
def test_what_ends_at_stripe_ends_here(fake_stripe: FakeStripe, row: StripeInvoice, status: str) -> None:
    end_there(fake_stripe, row.stripe_id, status)

    align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row) == (status, status, status)


@pytest.mark.parametrize("status", ENDS)
def test_what_ends_here_ends_at_stripe(fake_stripe: FakeStripe, row: StripeInvoice, status: str) -> None:
    end_here(row.invoice, status)
    assert list(StripeInvoice.objects.out_of_step()) == [row]

    align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row) == (status, status, status)
    assert not StripeInvoice.objects.out_of_step().exists()


@pytest.mark.parametrize("ended", ["here", "there"])
@pytest.mark.parametrize("status", ["paid", "void"])
def test_an_uncollectible_invoice_may_still_be_paid_or_voided(
    fake_stripe: FakeStripe, row: StripeInvoice, ended: str, status: str
) -> None:
    end_here(row.invoice, "uncollectible")
    align_invoice(row=row, now=NOW)
    if ended == "here":
        end_here(row.invoice, status)
    else:
        end_there(fake_stripe, row.stripe_id, status)

    align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row) == (status, status, status)


def test_a_payment_through_stripe_is_recorded_once_with_stripes_reference(
    fake_stripe: FakeStripe, row: StripeInvoice
) -> None:
    end_there(fake_stripe, row.stripe_id, "paid")

    for _ in range(3):
        align_invoice(row=row, now=NOW)

    payment = Payment.objects.get()
    assert (payment.amount_minor, payment.method, payment.reference) == (1234, "stripe", row.stripe_id)
    assert payment.received_at == NOW


def test_a_payment_here_is_told_to_stripe_as_made_outside_of_it(
    fake_stripe: FakeStripe, row: StripeInvoice
) -> None:
    end_here(row.invoice, "paid")

    align_invoice(row=row, now=NOW)

    remote = fake_stripe.account.invoices[row.stripe_id or ""]
    assert (remote["amount_paid_off_stripe"], remote["amount_paid"]) == (1234, 0)
    assert Payment.objects.count() == 1


def test_telling_stripe_survives_a_lost_answer(fake_stripe: FakeStripe, row: StripeInvoice) -> None:
    end_here(row.invoice, "paid")
    fake_stripe.after[PAY].extend([lose_connection] * 3)
    with pytest.raises(StripeUnavailable):
        align_invoice(row=row, now=NOW)

    align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row) == ("paid", "paid", "paid")


def test_void_here_and_paid_there_is_for_a_person(fake_stripe: FakeStripe, row: StripeInvoice) -> None:
    end_here(row.invoice, "void")
    end_there(fake_stripe, row.stripe_id, "paid")

    with pytest.raises(StripeDisagrees, match="refund"):
        align_invoice(row=row, now=NOW)

    row.refresh_from_db()
    assert "void here and was paid at Stripe" in row.problem
    assert not Payment.objects.exists()


def test_paid_here_and_void_there_is_left_alone(fake_stripe: FakeStripe, row: StripeInvoice) -> None:
    end_here(row.invoice, "paid")
    end_there(fake_stripe, row.stripe_id, "void")

    align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row) == ("paid", "void", "void")
    assert not StripeInvoice.objects.out_of_step().exists()


def test_an_invoice_that_is_open_on_both_sides_stays_open(
    fake_stripe: FakeStripe, row: StripeInvoice
) -> None:
    align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row) == ("open", "open", "open")


def test_a_parked_invoice_that_is_paid_with_another_total_is_not_taken_as_paid(
    fake_stripe: FakeStripe, row: StripeInvoice
) -> None:
    fake_stripe.account.invoices[row.stripe_id or ""]["total"] = 1
    end_there(fake_stripe, row.stripe_id, "paid")

    with pytest.raises(StripeDisagrees, match="1234 USD here and 1 USD at Stripe"):
        align_invoice(row=row, now=NOW)

    assert not Payment.objects.exists()


def test_an_amount_below_stripes_minimum_is_paid_at_once(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice
) -> None:
    row = push_invoice(invoice=make_invoice({"outcome": "miss", "list_minor": 12, "net_minor": 12}), now=NOW)
    assert list(StripeInvoice.objects.out_of_step()) == [row]

    align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row) == ("paid", "paid", "paid")
    assert Payment.objects.get().amount_minor == 12


def test_what_was_partly_credited_here_and_paid_in_full_there_is_for_a_person(
    fake_stripe: FakeStripe, row: StripeInvoice
) -> None:
    issue_credit_note(invoice=row.invoice, amount_minor=34, reason="slow", now=NOW)
    end_there(fake_stripe, row.stripe_id, "paid")

    with pytest.raises(StripeDisagrees, match="USD: refund the rest"):
        align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row)[0] == "open"


def test_what_was_wholly_credited_here_is_paid_at_stripe(fake_stripe: FakeStripe, row: StripeInvoice) -> None:
    issue_credit_note(invoice=row.invoice, amount_minor=1234, reason="slow", now=NOW)

    align_invoice(row=row, now=NOW)

    assert statuses(fake_stripe, row) == ("paid", "paid", "paid")


def test_what_was_partly_paid_here_is_not_voided_from_there(
    fake_stripe: FakeStripe, row: StripeInvoice
) -> None:
    record_payment(invoice=row.invoice, amount_minor=34, method="cash", received_at=NOW)
    end_there(fake_stripe, row.stripe_id, "void")

    with pytest.raises(InvoiceNotOwed):
        align_invoice(row=row, now=NOW)

    row.refresh_from_db()
    assert "has payments or credit notes" in row.problem
