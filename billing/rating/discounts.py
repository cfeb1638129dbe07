"""Hit discounts: what share of the list price a cache hit does not cost.

A discount names an outcome, and may name a model, a pool, or both. At each instant every such name has at
most one discount in force, the latest begun; of those that fit a call the most specific wins: model and pool,
then model, then pool, then neither. Where none fits, exact and coalesced hits are free and semantic hits cost
the list price. A miss or a bypass is never discounted.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from billing.money import exact_product, exact_quotient
from billing.rating.timeline import Timeline

NOTHING = Decimal(0)
DEFAULT_PERCENTS = {"exact": Decimal(100), "coalesced": Decimal(100), "semantic": NOTHING}
PERCENT_DIGITS = 4


class InvalidDiscount(ValueError):
    """A discount that makes no sense; the message says what would."""


class HitDiscount(NamedTuple):
    """A percentage off the list price for one outcome; an empty model or pool means all of them."""

    outcome: str
    model: str
    pool: str
    percent: Decimal
    effective_from: datetime


class HitDiscounts:
    """All hit discounts of a plan."""

    def __init__(self, rows: Iterable[HitDiscount]) -> None:
        by_name: defaultdict[tuple[str, str, str], list[tuple[datetime, Decimal]]] = defaultdict(list)
        for row in rows:
            check_discount(row)
            by_name[row.outcome, row.model, row.pool].append((row.effective_from, row.percent))
        self._timelines = {name: Timeline(entries) for name, entries in by_name.items()}

    def percent_at(self, *, outcome: str, model: str, pool: str, instant: datetime) -> Decimal:
        """Return the percentage off the list price, 0 to 100."""
        if outcome not in DEFAULT_PERCENTS:
            return NOTHING
        for name in ((outcome, model, pool), (outcome, model, ""), (outcome, "", pool), (outcome, "", "")):
            timeline = self._timelines.get(name)
            percent = timeline.at(instant) if timeline else None
            if percent is not None:
                return percent
        return DEFAULT_PERCENTS[outcome]

    def starts(self) -> set[datetime]:
        """Return every instant at which some discount takes effect."""
        return {start for timeline in self._timelines.values() for start in timeline.starts}


def check_discount(row: HitDiscount) -> None:
    """Refuse a discount that makes no sense.

    Raises:
        InvalidDiscount: unless the outcome is a hit and the percentage in 0..100 with at most 4 decimals.
    """
    if row.outcome not in DEFAULT_PERCENTS:
        raise InvalidDiscount(f"outcome {row.outcome!r} is no hit: {', '.join(DEFAULT_PERCENTS)} are")
    if not isinstance(row.percent, Decimal):
        raise InvalidDiscount(f"percent {row.percent!r} must be a Decimal, never a float")
    if not (row.percent.is_finite() and 0 <= row.percent <= 100):
        raise InvalidDiscount(f"percent {row.percent} must lie between 0 and 100")
    if row.percent != round(row.percent, PERCENT_DIGITS):
        raise InvalidDiscount(f"percent {row.percent} has more than {PERCENT_DIGITS} decimals")


def discount_on(list_amount: Decimal, percent: Decimal) -> Decimal:
    """Return percent hundredths of the list price, every digit of it."""
    return exact_quotient(exact_product(list_amount, percent), 100)
