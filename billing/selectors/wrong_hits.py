"""Which wrong hits an invoice credits: those that stand on no other, of months that are or were charged."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

from billing.models import Invoice, InvoiceLine, WrongHitCredit
from billing.money import exact_difference, exact_sum, to_decimal
from billing.rating.invoice_lines import Contract
from billing.rating.wrong_hits import Credit, credit_of
from billing.selectors.contracts import contracts_within
from metering.periods import Period, month_of
from metering.wrong_hits import wrong_usage


def outstanding_credits(
    *,
    tenant_id: int,
    period: Period,
    contracts: Sequence[Contract],
    priced_at: datetime,
    below: int,
    standing: Sequence[Invoice],
    is_charged: Callable[[Period], bool],
) -> list[Credit]:
    """Return what wrong hits up to the end of the period have to get back, in the order in which they occurred.

    Hits of earlier months that no standing invoice charges (`is_charged`) are left out; those on one of the
    `standing` invoices have theirs. `contracts` are the period's.
    """
    known: dict[Period, Sequence[Contract]] = {period: contracts}
    owed = []
    for wrong_hit_id, usage in wrong_usage(
        tenant_id=tenant_id, before=period.end, below=below, without=_credited(standing)
    ):
        instant = usage.span.start
        month = period if period.contains(instant) else month_of(instant)
        if month != period and not is_charged(month):
            continue
        if month not in known:
            known[month] = contracts_within(tenant_id=tenant_id, period=month, priced_at=priced_at)
        credit = credit_of(wrong_hit_id, month.start, usage, known[month])
        if credit is not None:
            owed.append(credit)
    return owed


def carried(standing: Sequence[Invoice], currency: str) -> Decimal:
    """Return what settling has left of credits so far: below zero where they gave back too little."""
    lines = InvoiceLine.objects.filter(invoice__in=_ids(standing), kind=InvoiceLine.Kind.WRONG_HIT)
    left = lines.values_list("net_accrued", "net_minor")
    return exact_sum(exact_difference(exact, to_decimal(minor, currency)) for exact, minor in left)


def _credited(standing: Sequence[Invoice]) -> list[int]:
    held = WrongHitCredit.objects.filter(invoice__in=_ids(standing))
    return list(held.values_list("wrong_hit_id", flat=True))


def _ids(invoices: Sequence[Invoice]) -> list[int]:
    return [invoice.pk for invoice in invoices]
