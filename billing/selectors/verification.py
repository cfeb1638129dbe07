"""Does an invoice say what the events say? Law L7, and the reconciliation of a month."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from billing.errors import BillingError
from billing.models import Invoice, WrongHitCredit
from billing.money import format_decimal, format_money
from billing.rating.invoice_lines import LineKey
from billing.rating.wrong_hits import Credit
from billing.selectors.composition import FINAL, compose, event_source, ledger_before, line_key
from metering.periods import Period
from metering.selectors import RollupDifference, rollup_differences
from metering.snapshot import snapshot

LineName = tuple[str, datetime | None, LineKey]


class Figures(NamedTuple):
    """What a line says, beside its name."""

    quantity: int = 0
    calls: int = 0
    list_accrued: Decimal = Decimal(0)
    net_accrued: Decimal = Decimal(0)
    list_minor: int = 0
    discount_minor: int = 0
    net_minor: int = 0


class Difference(NamedTuple):
    """Something that an invoice says otherwise than the events and the price book do."""

    what: str
    invoice_says: str
    events_say: str

    def __str__(self) -> str:
        return f"{self.what}: the invoice says {self.invoice_says}, the events say {self.events_say}"


class Reconciliation(NamedTuple):
    """What does not agree: rollups with events, and invoices (by number) with events."""

    rollups: list[RollupDifference]
    invoices: dict[str, list[Difference]]

    @property
    def agrees(self) -> bool:
        """Return whether there is no difference at all."""
        return not self.rollups and not any(self.invoices.values())


def verify_invoice(*, invoice: Invoice) -> list[Difference]:
    """Recompute a final invoice from raw events and the price book as they were, and compare line by line.

    Reads every event of the period, and of months that it bills late, in one snapshot of its own.
    """
    with snapshot():
        return list(_differences(invoice))


def reconcile(
    *, period: Period | None, on_invoice: Callable[[Invoice], object] = lambda _invoice: None
) -> Reconciliation:
    """Compare rollups with events, and verify every standing invoice, of a month or of all time, in one snapshot."""
    with snapshot():
        invoices = {}
        for invoice in invoices_to_reconcile(period=period):
            invoices[str(invoice.number)] = list(_differences(invoice))
            on_invoice(invoice)
        return Reconciliation(rollup_differences(period=period), invoices)


def invoices_to_reconcile(*, period: Period | None) -> list[Invoice]:
    """Return the standing invoices of a period, or of all time."""
    standing = Invoice.objects.filter(status__in=FINAL).order_by("finalised_at", "number")
    return list(standing.filter(period_start=period.start) if period else standing)


def _differences(invoice: Invoice) -> Iterator[Difference]:
    try:
        composition = compose(
            tenant_id=invoice.tenant_id,
            period=Period(invoice.period_start, invoice.period_end),
            priced_at=invoice.priced_at,
            source=event_source(tenant_id=invoice.tenant_id, watermark=invoice.usage_watermark),
            ledger=ledger_before(invoice),
        )
    except BillingError as error:
        yield Difference("the lines", "what it says", f"that it could not be drafted: {error}")
        return
    said = {
        (line.kind, line.original_period_start, line_key(line)): _figures(line, line)
        for line in invoice.lines.all()
    }
    computed = {
        (line.kind, line.original_period_start, line.key): _figures(line, line.served)
        for line in composition.lines
    }
    yield from _line_differences(said, computed, invoice.currency)
    yield from _total_differences(invoice, computed.values())
    yield from _credit_differences(invoice, composition.credits)
    for what, ours, theirs in (
        ("currency", invoice.currency, composition.currency),
        ("price book version", invoice.price_book_version, composition.price_book_version),
    ):
        if ours != theirs:
            yield Difference(what, ours, theirs)


def _line_differences(
    said: dict[LineName, Figures], computed: dict[LineName, Figures], currency: str
) -> Iterator[Difference]:
    for name in {**said, **computed}:
        ours, theirs = said.get(name, Figures()), computed.get(name, Figures())
        if ours != theirs:
            yield Difference(_title(name), _words(ours, currency), _words(theirs, currency))


def _total_differences(invoice: Invoice, computed: Iterable[Figures]) -> Iterator[Difference]:
    lines = list(computed)
    for field in ("list_minor", "discount_minor", "net_minor"):
        ours, theirs = getattr(invoice, field), sum(getattr(line, field) for line in lines)
        if ours != theirs:
            money = [format_money(minor, invoice.currency) for minor in (ours, theirs)]
            yield Difference(f"total {field.removesuffix('_minor')}", *money)


def _credit_differences(invoice: Invoice, computed: Iterable[Credit]) -> Iterator[Difference]:
    """Compare hit by hit: lines name no hit, and which of them have their credit must be beyond doubt."""
    held = WrongHitCredit.objects.filter(invoice=invoice).values_list("wrong_hit_id", "charged_accrued")
    said, owed = dict(held), {credit.wrong_hit_id: credit.charged for credit in computed}
    for wrong_hit_id in sorted({*said, *owed}):
        ours, theirs = said.get(wrong_hit_id), owed.get(wrong_hit_id)
        if ours != theirs:
            words = ["nothing" if amount is None else format_decimal(amount) for amount in (ours, theirs)]
            yield Difference(f"credit for wrong hit {wrong_hit_id}", *words)


def _figures(money: Any, served: Any) -> Figures:
    """Return the figures of a stored line or a computed one; a stored line bears its quantities itself."""
    return Figures(
        served.quantity,
        served.calls,
        money.list_accrued,
        money.net_accrued,
        money.list_minor,
        money.discount_minor,
        money.net_minor,
    )


def _title(name: LineName) -> str:
    kind, original, key = name
    price = "" if key.unit_amount is None else f" at {format_decimal(key.unit_amount)} per {key.per}"
    percent = f", {format_decimal(key.discount_percent)} % off" if key.discount_percent else ""
    month = f" of {original:%Y-%m}" if original else ""
    return f"{kind.replace('_', ' ')}{month}: {key.model} {key.pool} {key.outcome} ({key.quality}){price}{percent}"


def _words(figures: Figures, currency: str) -> str:
    return (
        f"{figures.quantity:,} in {figures.calls:,} calls, list {format_money(figures.list_minor, currency)} "
        f"({format_decimal(figures.list_accrued)}), net {format_money(figures.net_minor, currency)} "
        f"({format_decimal(figures.net_accrued)})"
    )
