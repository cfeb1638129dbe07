"""What an invoice has to say: invoice = f(usage, price book, rounding), and the invoices that stand before it.

Drafting composes from the rollups, verification from the events (law L7); the rest is the same.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from django.db.models import Q

from billing.errors import EarlierPeriodOpen, InvoicedUsageChanged, NoPlan
from billing.models import Invoice, InvoiceLine
from billing.rating.invoice_lines import (
    Contract,
    LineKey,
    RatedLine,
    Served,
    change_instants,
    gather,
    rated_lines,
)
from billing.rating.wrong_hits import Credit, credit_lines, that_fit
from billing.selectors.contracts import contracts_within, currency_of, price_book_version
from billing.selectors.wrong_hits import carried, outstanding_credits
from metering.periods import Period
from metering.selectors import (
    MonthOfUsage,
    months_of_usage,
    months_of_usage_from_events,
    usage_between,
    usage_from_events,
)
from metering.usage_sums import UsageSum

FINAL = (Invoice.Status.OPEN, Invoice.Status.PAID, Invoice.Status.UNCOLLECTIBLE)


class UsageSource(NamedTuple):
    """Where a tenant's usage is read: its sums over a period, and its months before an instant.

    Nothing counts that a transaction at or above the watermark has written.
    """

    watermark: int
    usage: Callable[..., list[UsageSum]]
    months: Callable[..., list[MonthOfUsage]]


class Ledger(NamedTuple):
    """A tenant's other invoices at some moment: those that stand, and those that were voided."""

    standing: Sequence[Invoice]
    voided: Sequence[Invoice]

    def invoice_of(self, period: Period) -> Invoice | None:
        """Return the standing invoice of a period."""
        return next((known for known in self.standing if known.period_start == period.start), None)

    def was_voided(self, period: Period) -> bool:
        """Return whether an operator voided the period's invoice, which settles it until closed by hand."""
        return any(known.period_start == period.start for known in self.voided)


class Composition(NamedTuple):
    """The content of an invoice; no lines where there is nothing to say."""

    currency: str
    price_book_version: str
    lines: list[RatedLine]
    credits: list[Credit]
    """The wrong hits that its last lines give back."""


def rollup_source(*, tenant_id: int, watermark: int) -> UsageSource:
    """Read usage from the rollups, which count every event below the watermark."""
    return UsageSource(
        watermark=watermark,
        usage=partial(usage_between, tenant_id=tenant_id, below=watermark),
        months=partial(months_of_usage, tenant_id=tenant_id),
    )


def event_source(*, tenant_id: int, watermark: int) -> UsageSource:
    """Read usage from the events themselves, those below the watermark."""
    return UsageSource(
        watermark=watermark,
        usage=partial(usage_from_events, tenant_id=tenant_id, below=watermark),
        months=partial(months_of_usage_from_events, tenant_id=tenant_id, below=watermark),
    )


def current_ledger(*, tenant_id: int) -> Ledger:
    """Return the tenant's final invoices as they stand now."""
    finals = Invoice.objects.filter(tenant_id=tenant_id).exclude(status=Invoice.Status.DRAFT)
    return _ledger(finals, lambda invoice: invoice.status == Invoice.Status.VOID)


def ledger_before(invoice: Invoice) -> Ledger:
    """Return the tenant's final invoices as they stood when a final invoice was finalised."""
    others = Invoice.objects.filter(tenant_id=invoice.tenant_id).exclude(pk=invoice.pk)
    earlier = [
        other
        for other in others.exclude(status=Invoice.Status.DRAFT)
        if _finalising_order(other) < _finalising_order(invoice)
    ]
    moment = _finalised_at(invoice)
    return _ledger(earlier, lambda other: other.voided_at is not None and other.voided_at <= moment)


def compose(
    *, tenant_id: int, period: Period, priced_at: datetime, source: UsageSource, ledger: Ledger
) -> Composition:
    """Work out the lines of a tenant's invoice for a period: its usage, late usage of earlier ones, then credits.

    Raises:
        EarlierPeriodOpen: an earlier month has usage and was never invoiced.
        InvoicedUsageChanged: usage that an invoice names would no longer be rated as it says.
        NoPlan: there is usage and no plan to take a currency from.
    """
    contracts = contracts_within(tenant_id=tenant_id, period=period, priced_at=priced_at)
    gathered = _outstanding(period, contracts, source, ledger)
    late = _late_usage(tenant_id, period, priced_at, source, ledger)
    currency = currency_of(tenant_id=tenant_id)
    if currency is None:
        if gathered:
            raise NoPlan(f"There is usage in {period.start:%Y-%m} and no plan; subscribe the tenant to one.")
        currency = ""
    lines = rated_lines(gathered, currency=currency)
    for start, outstanding in late:
        lines.extend(rated_lines(outstanding, currency=currency, original_period_start=start))
    owed = outstanding_credits(
        tenant_id=tenant_id,
        period=period,
        contracts=contracts,
        priced_at=priced_at,
        below=source.watermark,
        standing=ledger.standing,
        is_charged=lambda month: ledger.invoice_of(month) is not None,
    )
    fitting, given_back = _given_back(owed, lines, ledger, currency)
    version = price_book_version(contracts=contracts, period=period, priced_at=priced_at)
    return Composition(currency, version, [*lines, *given_back], fitting)


def _given_back(
    owed: list[Credit], lines: list[RatedLine], ledger: Ledger, currency: str
) -> tuple[list[Credit], list[RatedLine]]:
    """Return what of the credits fits under the lines of an invoice, and the lines that give it back."""
    if not owed or not lines:
        return [], []
    left = carried(ledger.standing, currency)
    charged_minor = sum(line.net_minor for line in lines)
    fitting = that_fit(owed, charged_minor=charged_minor, carried=left, currency=currency)
    return fitting, credit_lines(fitting, carried=left, currency=currency)


def _late_usage(
    tenant_id: int, period: Period, priced_at: datetime, source: UsageSource, ledger: Ledger
) -> list[tuple[datetime, dict[LineKey, Served]]]:
    """Return what earlier, invoiced months have gained since, by month, at their own prices."""
    late = []
    for month in source.months(before=period.start):
        invoice = ledger.invoice_of(month.period)
        if invoice is None:
            if ledger.was_voided(month.period):
                continue
            name = f"{month.period.start:%Y-%m}"
            raise EarlierPeriodOpen(f"There is usage in {name} that was never invoiced: close {name} first.")
        contracts = contracts_within(tenant_id=tenant_id, period=month.period, priced_at=priced_at)
        version = price_book_version(contracts=contracts, period=month.period, priced_at=priced_at)
        if month.watermark > invoice.usage_watermark or version != invoice.price_book_version:
            late.append((month.period.start, _outstanding(month.period, contracts, source, ledger)))
    return late


def _outstanding(
    period: Period, contracts: list[Contract], source: UsageSource, ledger: Ledger
) -> dict[LineKey, Served]:
    """Return the period's usage, less what standing invoices already name."""
    gathered = gather(source.usage(period=period, cuts=change_instants(contracts)), contracts)
    for key, billed in _billed(period, ledger).items():
        total = gathered.get(key, Served(0, 0))
        left = Served(total.quantity - billed.quantity, total.calls - billed.calls)
        if left.quantity < 0 and not key.is_quarantined:
            raise InvoicedUsageChanged(
                f"{period.start:%Y-%m}: {billed.quantity} of {key.model} {key.pool} ({key.outcome}) were invoiced "
                f"and {total.quantity} would be now. Restore the plan of that month, or void its invoice."
            )
        gathered[key] = left
    return {key: served for key, served in gathered.items() if _is_to_be_shown(key, served)}


def _is_to_be_shown(key: LineKey, served: Served) -> bool:
    return served.quantity > 0 or (key.is_quarantined and served.quantity == 0 and served.calls > 0)


def _billed(period: Period, ledger: Ledger) -> dict[LineKey, Served]:
    """Sum what standing invoices say of a period, on their own lines or as late usage."""
    lines = InvoiceLine.objects.exclude(kind=InvoiceLine.Kind.WRONG_HIT).filter(
        Q(original_period_start=period.start)
        | Q(original_period_start=None, invoice__period_start=period.start),
        invoice__in=[invoice.pk for invoice in ledger.standing],
    )
    billed: dict[LineKey, Served] = {}
    for line in lines:
        key = line_key(line)
        known = billed.get(key, Served(0, 0))
        billed[key] = Served(known.quantity + line.quantity, known.calls + line.calls)
    return billed


def line_key(line: InvoiceLine) -> LineKey:
    """Return what the usage on a stored line has in common."""
    return LineKey(
        model=line.model,
        pool=line.pool,
        outcome=line.outcome,
        quality=line.quality,
        unit_amount=line.unit_amount,
        per=line.per,
        discount_percent=line.discount_percent,
        reason=line.reason,
    )


def _ledger(invoices: Iterable[Invoice], is_void: Callable[[Invoice], bool]) -> Ledger:
    known = list(invoices)
    return Ledger(
        standing=[invoice for invoice in known if not is_void(invoice)],
        voided=[invoice for invoice in known if is_void(invoice)],
    )


def _finalising_order(invoice: Invoice) -> tuple[datetime, int, str]:
    number = invoice.number or ""
    return _finalised_at(invoice), len(number), number


def _finalised_at(invoice: Invoice) -> datetime:
    assert invoice.finalised_at is not None, "a final invoice has an instant of finalising"
    return invoice.finalised_at
