"""From summed usage to the lines of an invoice: invoice = f(usage, price book, rounding).

A line gathers usage of one model, pool, outcome and quality, at one price and one percentage. What cannot be
rated beyond doubt is quarantined: on a line of its own, with the reason, at no charge.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from billing.money import ZERO, settle
from billing.rating.price_book import PriceBook, rate
from billing.rating.unit import UnitPrice
from metering.periods import Period
from metering.tokens import BILLABLE
from metering.usage_event import OUTCOMES, QUALITIES
from metering.usage_sums import UsageSum

USAGE, LATE_USAGE, QUARANTINED = "usage", "late_usage", "quarantined"

# These sentences stand on invoices, which are verified against them: add to them, never reword one.
SUSPECT = "The upstream's usage report contradicts itself."
NO_PLAN = "No plan was in force."
NO_PRICE = "The plan had no price for it."


class Contract(NamedTuple):
    """A span during which a tenant was on one plan."""

    span: Period
    book: PriceBook


class LineKey(NamedTuple):
    """What usage must have in common to stand on one line."""

    model: str
    pool: str
    outcome: str
    quality: str
    unit_amount: Decimal | None
    per: int | None
    discount_percent: Decimal
    reason: str = ""

    @property
    def is_quarantined(self) -> bool:
        """Return whether this usage is shown and not charged."""
        return bool(self.reason)


class Served(NamedTuple):
    """How much stands on a line: tokens or units, and in how many calls."""

    quantity: int
    calls: int


class RatedLine(NamedTuple):
    """A line of an invoice: exact as accrued, and settled once to minor units."""

    kind: str
    original_period_start: datetime | None
    key: LineKey
    served: Served
    list_accrued: Decimal
    net_accrued: Decimal
    list_minor: int
    discount_minor: int
    net_minor: int


def change_instants(contracts: Iterable[Contract]) -> set[datetime]:
    """Return every instant at which a price, a discount or the plan changes."""
    cuts: set[datetime] = set()
    for contract in contracts:
        cuts |= {contract.span.start, contract.span.end, *contract.book.change_instants(contract.span)}
    return cuts


def gather(usage: Iterable[UsageSum], contracts: Sequence[Contract]) -> dict[LineKey, Served]:
    """Put usage on lines. No sum may reach over one of the `change_instants` of the contracts."""
    gathered: dict[LineKey, Served] = {}
    for part in usage:
        contract = next((known for known in contracts if known.span.contains(part.span.start)), None)
        for pool, quantity in _shown(part).items():
            key = _key(part, pool, contract)
            known = gathered.get(key, Served(0, 0))
            gathered[key] = Served(known.quantity + quantity, known.calls + part.calls)
    return gathered


def _shown(part: UsageSum) -> dict[str, int]:
    """Return the pools that were used; suspect usage is shown even where no count could be believed."""
    used = {pool: quantity for pool, quantity in part.quantities.items() if quantity}
    return used or ({"input": 0} if part.quality == "suspect" else {})


def _key(part: UsageSum, pool: str, contract: Contract | None) -> LineKey:
    named = (part.model, pool, part.outcome, part.quality)
    if part.quality == "suspect":
        return LineKey(*named, None, None, ZERO, SUSPECT)
    if contract is None:
        return LineKey(*named, None, None, ZERO, NO_PLAN)
    instant = part.span.start
    price = contract.book.price_at(model=part.model, pool=pool, instant=instant)
    if price is None:
        return LineKey(*named, None, None, ZERO, NO_PRICE)
    percent = contract.book.discount_at(outcome=part.outcome, model=part.model, pool=pool, instant=instant)
    return LineKey(*named, price.amount, price.per, percent)


def rated_lines(
    gathered: dict[LineKey, Served], *, currency: str, original_period_start: datetime | None = None
) -> list[RatedLine]:
    """Rate and settle what was gathered, in the order of an invoice; late usage names its original period."""
    kind = USAGE if original_period_start is None else LATE_USAGE
    return [
        _rated_line(kind, original_period_start, key, gathered[key], currency)
        for key in sorted(gathered, key=line_order)
    ]


def _rated_line(
    kind: str, original_period_start: datetime | None, key: LineKey, served: Served, currency: str
) -> RatedLine:
    if key.unit_amount is None or key.per is None:
        return RatedLine(QUARANTINED, original_period_start, key, served, ZERO, ZERO, 0, 0, 0)
    rated = rate(served.quantity, UnitPrice(key.unit_amount, key.per), key.discount_percent)
    list_minor, net_minor = settle(rated.list, currency), settle(rated.charged, currency)
    return RatedLine(
        kind=kind,
        original_period_start=original_period_start,
        key=key,
        served=served,
        list_accrued=rated.list,
        net_accrued=rated.charged,
        list_minor=list_minor,
        discount_minor=list_minor - net_minor,
        net_minor=net_minor,
    )


def line_order(key: LineKey) -> tuple[object, ...]:
    """Order lines by model, pool, outcome, quality, then the dearer price first."""
    return (
        key.is_quarantined,
        key.model,
        BILLABLE.index(key.pool),
        OUTCOMES.index(key.outcome),
        QUALITIES.index(key.quality),
        -(key.unit_amount or ZERO),
        key.per or 0,
        key.discount_percent,
        key.reason,
    )
