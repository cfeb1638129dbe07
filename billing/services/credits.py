"""Giving back what a final invoice charged."""

from datetime import datetime

from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Coalesce

from billing.errors import CreditRefused, InvoiceNotOwed
from billing.models import CreditNote, CreditNoteLine, Invoice
from billing.money import allocate, format_money
from billing.selectors.invoices import owed_minor
from billing.services.numbers import take_number

CREDITABLE = (Invoice.Status.OPEN, Invoice.Status.PAID, Invoice.Status.UNCOLLECTIBLE)


@transaction.atomic
def issue_credit_note(*, invoice: Invoice, amount_minor: int, reason: str, now: datetime) -> CreditNote:
    """Give back part or all of what remains of an invoice, spread over its lines by largest remainder (L6).

    An open invoice on which nothing is owed any more is paid. Locks the invoice, then the series.

    Raises:
        InvoiceNotOwed: it is a draft or void.
        CreditRefused: the amount is not more than nothing, or more than remains.
    """
    locked = Invoice.objects.select_for_update().get(pk=invoice.pk)
    if locked.status not in CREDITABLE:
        raise InvoiceNotOwed(f"{locked} is {locked.status} and cannot be credited.")
    lines = list(locked.lines.annotate(credited=Coalesce(Sum("credit_note_lines__net_minor"), 0)))
    remaining = [line.net_minor - line.credited for line in lines]
    left = sum(remaining)  # credits for wrong hits, below zero, included: they are given back already
    if not 0 < amount_minor <= left:
        raise CreditRefused(
            f"{format_money(left, locked.currency)} remain of {locked}: "
            f"{format_money(amount_minor, locked.currency)} cannot be credited."
        )
    note = CreditNote.objects.create(
        invoice=locked,
        number=take_number(prefix="CN", now=now),
        reason=reason,
        net_minor=amount_minor,
        issued_at=now,
    )
    shares = zip(lines, allocate(amount_minor, [max(rest, 0) for rest in remaining]), strict=True)
    CreditNoteLine.objects.bulk_create(
        CreditNoteLine(credit_note=note, invoice_line=line, net_minor=share)
        for line, share in shares
        if share
    )
    if locked.status != Invoice.Status.PAID and owed_minor(invoice=locked) <= 0:
        locked.status = Invoice.Status.PAID
        locked.paid_at = now
        locked.save(update_fields=["status", "paid_at"])
    return note
