"""What becomes of an invoice once it is final: paid, void or uncollectible. Each call locks that invoice."""

from datetime import datetime

from django.db import transaction

from billing.errors import InvoiceNotOwed, PaymentRefused
from billing.models import Invoice, Payment
from billing.money import format_money
from billing.selectors.invoices import owed_minor

OWED = (Invoice.Status.OPEN, Invoice.Status.UNCOLLECTIBLE)


@transaction.atomic
def record_payment(
    *, invoice: Invoice, amount_minor: int, method: str, received_at: datetime, reference: str = ""
) -> Payment:
    """Record money received; when nothing is owed any more the invoice is paid.

    Idempotent by method and reference: the same payment told twice is recorded once.

    Raises:
        InvoiceNotOwed: the invoice is a draft, paid or void.
        PaymentRefused: it is not more than nothing, more than is owed, or its reference names another amount.
    """
    locked = Invoice.objects.select_for_update().get(pk=invoice.pk)
    known = locked.payments.filter(method=method, reference=reference).first() if reference else None
    if known is not None:
        return _same_payment(known, amount_minor)
    _refuse_unless(locked, OWED, "paid")
    owed = owed_minor(invoice=locked)
    if not 0 < amount_minor <= owed:
        raise PaymentRefused(
            f"{locked} owes {format_money(owed, locked.currency)}: a payment of "
            f"{format_money(amount_minor, locked.currency)} cannot be recorded on it."
        )
    payment = Payment.objects.create(
        invoice=locked, amount_minor=amount_minor, method=method, reference=reference, received_at=received_at
    )
    if amount_minor == owed:
        locked.status = Invoice.Status.PAID
        locked.paid_at = received_at
        locked.save(update_fields=["status", "paid_at"])
    return payment


@transaction.atomic
def void_invoice(*, invoice: Invoice, now: datetime) -> Invoice:
    """Void a final invoice that nothing was paid on: it counts for nothing, and its number stays taken.

    Its period is left alone from then on, until `close_period` is called for it again.

    Raises:
        InvoiceNotOwed: it is a draft, paid or void, or money was received on it.
    """
    locked = Invoice.objects.select_for_update().get(pk=invoice.pk)
    _refuse_unless(locked, OWED, "voided")
    if locked.payments.exists() or locked.credit_notes.exists():
        raise InvoiceNotOwed(
            f"{locked} has payments or credit notes: issue a credit note for the rest instead."
        )
    locked.status = Invoice.Status.VOID
    locked.voided_at = now
    locked.save(update_fields=["status", "voided_at"])
    return locked


@transaction.atomic
def mark_uncollectible(*, invoice: Invoice, now: datetime) -> Invoice:
    """Write an open invoice off; a late payment is still taken.

    Raises:
        InvoiceNotOwed: it is not open.
    """
    locked = Invoice.objects.select_for_update().get(pk=invoice.pk)
    _refuse_unless(locked, (Invoice.Status.OPEN,), "written off")
    locked.status = Invoice.Status.UNCOLLECTIBLE
    locked.uncollectible_at = now
    locked.save(update_fields=["status", "uncollectible_at"])
    return locked


def _same_payment(known: Payment, amount_minor: int) -> Payment:
    if known.amount_minor != amount_minor:
        raise PaymentRefused(
            f"The {known.method} payment {known.reference!r} is recorded already, with another amount."
        )
    return known


def _refuse_unless(invoice: Invoice, statuses: tuple[Invoice.Status, ...], done: str) -> None:
    if invoice.status not in statuses:
        raise InvoiceNotOwed(f"{invoice} is {invoice.status} and cannot be {done}.")
