"""L5: charged + saved = list, exactly, on every line, and summed."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from billing.money import settle
from billing.rating.price_book import RatedUsage, add_up, rate
from billing.rating.unit import UnitPrice
from tests.billing.rating.strategies import PERCENTS, QUANTITIES, UNIT_PRICES

NOW = datetime(2026, 11, 1, tzinfo=UTC)
RATED = st.builds(rate, QUANTITIES, UNIT_PRICES, PERCENTS)


@given(QUANTITIES, UNIT_PRICES, PERCENTS)
def test_l5_charged_and_saved_make_the_list_price_of_a_line(
    quantity: int, price: UnitPrice, percent: Decimal
) -> None:
    rated = rate(quantity, price, percent)
    assert Fraction(rated.list) == quantity * Fraction(price.amount) / price.per
    assert Fraction(rated.charged) + Fraction(rated.discount) == Fraction(rated.list)
    assert 0 <= rated.charged <= rated.list


@given(st.lists(RATED, max_size=50))
def test_l5_holds_for_the_sum_of_lines(lines: list[RatedUsage]) -> None:
    total = add_up(lines)
    assert Fraction(total.charged) + Fraction(total.discount) == Fraction(total.list)
    assert Fraction(total.list) == sum(Fraction(line.list) for line in lines)


@given(st.lists(QUANTITIES.filter(lambda quantity: quantity < 2**40), max_size=20), UNIT_PRICES, PERCENTS)
def test_l5_it_does_not_matter_how_usage_was_cut_up(
    quantities: list[int], price: UnitPrice, percent: Decimal
) -> None:
    assert add_up([rate(quantity, price, percent) for quantity in quantities]) == rate(
        sum(quantities), price, percent
    )


@given(RATED, st.sampled_from(["USD", "JPY", "KWD"]))
def test_l5_survives_settling(rated: RatedUsage, currency: str) -> None:
    list_minor, net_minor = settle(rated.list, currency), settle(rated.charged, currency)
    assert 0 <= net_minor <= list_minor
    discount_minor = list_minor - net_minor
    assert abs(discount_minor - settle(rated.discount, currency)) <= 1
