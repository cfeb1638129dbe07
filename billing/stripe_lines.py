"""The lines of an invoice as Stripe shows them: at most 250, each a sum of ours, zero-rated hits at 0."""

from collections.abc import Callable, Sequence
from itertools import groupby

from billing.models import Invoice, InvoiceLine
from billing.money import format_money
from billing.stripe_gateway import LINES_MAX, RemoteLine

DESCRIPTION_MAX = 500

_Grouping = Callable[[InvoiceLine], tuple[object, ...]]

# From the finest to the coarsest; the first that gives few enough groups is taken.
_GROUPINGS: tuple[_Grouping, ...] = (
    lambda line: (line.position,),
    lambda line: (line.model, line.pool, line.outcome, line.kind),
    lambda line: (line.model, line.outcome, _is_credit(line)),
    lambda line: (line.model, _is_credit(line)),
    lambda line: (_is_credit(line),),
)


def stripe_lines(invoice: Invoice) -> list[RemoteLine]:
    """Return the invoice's lines for Stripe, as finely as 250 lines allow; their amounts sum to its net."""
    lines = list(invoice.lines.order_by("position"))
    start, end = int(invoice.period_start.timestamp()), int(invoice.period_end.timestamp()) - 1
    return [
        RemoteLine(_describe(group, invoice.currency), sum(line.net_minor for line in group), start, end)
        for group in _few_enough(lines)
    ]


def _few_enough(lines: Sequence[InvoiceLine]) -> list[list[InvoiceLine]]:
    for grouping in _GROUPINGS:
        ordered = sorted(lines, key=lambda line: (*map(str, grouping(line)), line.position))
        groups = [list(group) for _, group in groupby(ordered, grouping)]
        if len(groups) <= LINES_MAX:
            break
    return sorted(groups, key=lambda group: group[0].position)


def _describe(group: Sequence[InvoiceLine], currency: str) -> str:
    what = _name(group[0]) if len(group) == 1 else _name_together(group)
    if _is_credit(group[0]):
        return f"{what}; comes back"[:DESCRIPTION_MAX]
    price = format_money(sum(line.list_minor for line in group), currency)
    saved = format_money(sum(line.discount_minor for line in group), currency)
    return f"{what}; list price {price}, saved {saved}"[:DESCRIPTION_MAX]


def _is_credit(line: InvoiceLine) -> bool:
    return line.kind == InvoiceLine.Kind.WRONG_HIT


def _name(line: InvoiceLine) -> str:
    if _is_credit(line):
        return f"{_words(line)}: credit for {line.calls:,} wrong hits of {line.original_period_start:%Y-%m}"
    late = f", late usage of {line.original_period_start:%Y-%m}" if line.original_period_start else ""
    quarantined = ", quarantined and not charged" if line.kind == InvoiceLine.Kind.QUARANTINED else ""
    return f"{_words(line)}: {line.quantity:,} in {line.calls:,} calls{late}{quarantined}"


def _name_together(group: Sequence[InvoiceLine]) -> str:
    names = {_words(line) for line in group}
    models = sorted({line.model for line in group})
    what = (
        names.pop() if len(names) == 1 else ", ".join(models) if len(models) <= 5 else f"{len(models)} models"
    )
    credit = "credit for wrong hits, " if _is_credit(group[0]) else ""
    return f"{what}: {credit}{len(group):,} lines together"


def _words(line: InvoiceLine) -> str:
    return f"{line.model}, {line.get_pool_display()}, {line.get_outcome_display()}"
