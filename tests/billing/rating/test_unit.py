from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given

from billing.rating.unit import InvalidPrice, list_price, unit_price
from tests.billing.rating.strategies import QUANTITIES, UNIT_PRICES


@given(QUANTITIES, UNIT_PRICES)
def test_list_price_is_quantity_times_amount_by_per_to_the_last_digit(quantity: int, price: Any) -> None:
    assert Fraction(list_price(quantity, price)) == quantity * Fraction(price.amount) / price.per


@pytest.mark.parametrize("per", [0, -1, 3, 5, 1024, 10**13])
def test_a_per_that_would_leave_a_remainder_is_refused(per: int) -> None:
    with pytest.raises(InvalidPrice, match=rf"per {per} must be a power of ten"):
        unit_price(Decimal("0.50"), per)


@pytest.mark.parametrize(
    "amount",
    [0.5, 1, "1", Decimal(-1), Decimal("NaN"), Decimal("Infinity"), Decimal(10) ** 12, Decimal("1E-13")],
)
def test_an_amount_out_of_bounds_is_refused(amount: Any) -> None:
    with pytest.raises(InvalidPrice, match="amount"):
        unit_price(amount, 1)


def test_small_amounts_do_not_vanish() -> None:
    assert list_price(1, unit_price(Decimal("0.000000000001"), 10**12)) == Decimal("1E-24")
