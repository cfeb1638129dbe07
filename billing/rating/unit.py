"""The flat price: so much per so many units.

list = quantity × amount / per, and it must come out exact. An amount has at most 12 decimals and `per`
is a power of ten up to 10¹², so list prices are whole multiples of 10⁻²⁴. A `per` of 3 would leave thirds,
which no decimal holds: such a price is refused when made, not rounded when used.
"""

from decimal import Decimal
from typing import NamedTuple

from billing.money import exact_product, exact_quotient

AMOUNT_DIGITS = 12
AMOUNT_LIMIT = Decimal(10) ** 12
PERS: tuple[int, ...] = tuple(10**power for power in range(13))


class InvalidPrice(ValueError):
    """A price that cannot be rated exactly; the message says what would do."""


class UnitPrice(NamedTuple):
    """An amount of the plan's currency per so many units; 1,000,000 for a price per million tokens."""

    amount: Decimal
    per: int


def unit_price(amount: Decimal, per: int) -> UnitPrice:
    """Make a price that is sure to rate exactly.

    Raises:
        InvalidPrice: unless 0 <= amount < 10¹² with at most 12 decimals, and `per` is in PERS.
    """
    if not isinstance(amount, Decimal):
        raise InvalidPrice(f"amount {amount!r} must be a Decimal, never a float")
    if not (amount.is_finite() and 0 <= amount < AMOUNT_LIMIT):
        raise InvalidPrice(f"amount {amount} must be at least 0 and under 10^12")
    if amount != round(amount, AMOUNT_DIGITS):
        raise InvalidPrice(f"amount {amount} has more than {AMOUNT_DIGITS} decimals")
    if per not in PERS:
        raise InvalidPrice(
            f"per {per} must be a power of ten up to 10^12, so that no price leaves a remainder"
        )
    return UnitPrice(amount, per)


def list_price(quantity: int, price: UnitPrice) -> Decimal:
    """Return quantity × amount / per, every digit of it."""
    return exact_quotient(exact_product(price.amount, quantity), price.per)
