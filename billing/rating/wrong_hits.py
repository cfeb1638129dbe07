"""What wrong hits give back: the charge of each, exact, on lines that settle to what the invoice can bear.

A credit is never worth more than its invoice charges: hits are taken as they occurred, each whole or not at all, and
what does not fit waits for the next invoice. What settling leaves of an exact sum is carried to the next credit, so
that hits of a thousandth of a cent come back too, in time. See docs/rating.md.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from billing.money import ZERO, exact_difference, exact_sum, settle, to_decimal
from billing.rating.invoice_lines import Contract, LineKey, RatedLine, Served, gather, line_order
from billing.rating.price_book import rate
from billing.rating.unit import UnitPrice
from metering.usage_sums import UsageSum

WRONG_HIT = "wrong_hit"


class Credit(NamedTuple):
    """A wrong hit and what it was charged, exact, on the lines of usage that it stands on."""

    wrong_hit_id: int
    month: datetime
    charged: Decimal
    parts: dict[LineKey, Served]


def credit_of(
    wrong_hit_id: int, month: datetime, usage: UsageSum, contracts: Sequence[Contract]
) -> Credit | None:
    """Return the credit of a hit at the prices of its instant; None while any of it is quarantined."""
    parts = gather([usage], contracts)
    if any(key.is_quarantined for key in parts):
        return None
    charged = exact_sum(_charged(key, served) for key, served in parts.items())
    return Credit(wrong_hit_id, month, charged, parts)


def that_fit(owed: Iterable[Credit], *, charged_minor: int, carried: Decimal, currency: str) -> list[Credit]:
    """Return, in their order, the credits that together with what is carried leave an invoice at zero or above."""
    room = exact_sum([to_decimal(charged_minor, currency), carried])
    fitting = []
    for credit in owed:
        left = exact_difference(room, credit.charged)
        if left >= 0:
            fitting.append(credit)
            room = left
    return fitting


def credit_lines(given: Iterable[Credit], *, carried: Decimal, currency: str) -> list[RatedLine]:
    """Return the lines of credits, by month: no list price, and a discount of what was charged.

    `carried` is what earlier lines gave back less than they should have, negative, or more.
    """
    gathered: dict[tuple[datetime, LineKey], Served] = {}
    for credit in given:
        for key, served in credit.parts.items():
            known = gathered.get((credit.month, key), Served(0, 0))
            gathered[credit.month, key] = Served(known.quantity + served.quantity, known.calls + served.calls)
    lines = []
    for month, key in sorted(gathered, key=lambda name: (name[0], line_order(name[1]))):
        net_accrued = exact_difference(ZERO, _charged(key, gathered[month, key]))
        due = exact_sum([carried, net_accrued])
        net_minor = min(settle(due, currency), 0)
        carried = exact_difference(due, to_decimal(net_minor, currency))
        lines.append(_line(month, key, gathered[month, key], net_accrued, net_minor))
    return lines


def _charged(key: LineKey, served: Served) -> Decimal:
    assert key.unit_amount is not None, "what is quarantined is not credited"
    assert key.per is not None, "a price has its unit"
    return rate(served.quantity, UnitPrice(key.unit_amount, key.per), key.discount_percent).charged


def _line(month: datetime, key: LineKey, served: Served, net_accrued: Decimal, net_minor: int) -> RatedLine:
    return RatedLine(
        kind=WRONG_HIT,
        original_period_start=month,
        key=key,
        served=served,
        list_accrued=ZERO,
        net_accrued=net_accrued,
        list_minor=0,
        discount_minor=-net_minor,
        net_minor=net_minor,
    )
