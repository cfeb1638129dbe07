from decimal import Decimal, Inexact, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import (
    UnknownCurrency,
    allocate,
    exact_difference,
    exact_product,
    exact_quotient,
    exact_sum,
    format_decimal,
    format_money,
    minor_unit,
    settle,
    to_decimal,
)

AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=30, min_value=-(10**12), max_value=10**12)
CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD"])


@pytest.mark.parametrize(
    ("currency", "digits"), [("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3), ("BHD", 3)]
)
def test_minor_unit_follows_iso_4217(currency: str, digits: int) -> None:
    assert minor_unit(currency) == digits


@pytest.mark.parametrize("currency", ["usd", "", "XXX", "US", "USD "])
def test_minor_unit_refuses_what_iso_4217_does_not_list(currency: str) -> None:
    with pytest.raises(UnknownCurrency, match="ISO 4217"):
        minor_unit(currency)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("0.005", "USD", 1),
        ("0.0049999999999999999999999999999", "USD", 0),
        ("-0.005", "USD", -1),
        ("0.015", "USD", 2),
        ("0.025", "USD", 3),
        ("1.5", "JPY", 2),
        ("2.5", "JPY", 3),
        ("0.0005", "KWD", 1),
        ("123456789012345678901234567890.125", "USD", 12345678901234567890123456789013),
    ],
)
def test_settle_rounds_half_up_once(amount: str, currency: str, minor: int) -> None:
    assert settle(Decimal(amount), currency) == minor


@given(AMOUNTS, CURRENCIES)
def test_settle_is_the_nearest_minor_unit_and_symmetric(amount: Decimal, currency: str) -> None:
    exact_minor = Fraction(amount) * 10 ** minor_unit(currency)
    settled = settle(amount, currency)
    assert abs(Fraction(settled) - exact_minor) <= Fraction(1, 2)
    assert settle(-amount, currency) == -settled


@given(AMOUNTS)
def test_settle_does_not_heed_the_ambient_context(amount: Decimal) -> None:
    expected = settle(amount, "USD")
    with localcontext(prec=3, rounding="ROUND_DOWN"):
        assert settle(amount, "USD") == expected


@given(st.integers(-(10**20), 10**20), CURRENCIES)
def test_settled_money_survives_the_way_to_a_decimal_and_back(minor: int, currency: str) -> None:
    assert settle(to_decimal(minor, currency), currency) == minor


@given(st.lists(AMOUNTS, max_size=30))
def test_exact_sum_keeps_every_digit(amounts: list[Decimal]) -> None:
    assert Fraction(exact_sum(amounts)) == sum(map(Fraction, amounts))


@given(AMOUNTS, AMOUNTS)
def test_products_and_differences_keep_every_digit(left: Decimal, right: Decimal) -> None:
    assert Fraction(exact_product(left, right)) == Fraction(left) * Fraction(right)
    assert Fraction(exact_difference(left, right)) == Fraction(left) - Fraction(right)


def test_a_quotient_without_end_is_refused() -> None:
    assert exact_quotient(Decimal(1), 1024) == Decimal("0.0009765625")
    with pytest.raises(Inexact):
        exact_quotient(Decimal(1), 3)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123450, "USD", "1,234.50 USD"),
        (0, "USD", "0.00 USD"),
        (-5, "JPY", "-5 JPY"),
        (1, "KWD", "0.001 KWD"),
        (-7, "USD", "-0.07 USD"),
    ],
)
def test_format_money(minor: int, currency: str, text: str) -> None:
    assert format_money(minor, currency) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.000123000", "0.000123"),
        ("1E+2", "100"),
        ("100.00", "100"),
        ("0.00", "0"),
        ("1E-18", "0.000000000000000001"),
        ("-1.50", "-1.5"),
    ],
)
def test_format_decimal_writes_every_digit_and_no_more(amount: str, text: str) -> None:
    assert format_decimal(Decimal(amount)) == text


WEIGHTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=40)


@given(st.integers(-(10**15), 10**15), WEIGHTS.filter(any))
def test_allocate_sums_to_the_total_within_one_of_each_quota(total: int, weights: list[int]) -> None:
    shares = allocate(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(Fraction(share) - Fraction(total * weight, sum(weights))) < 1


@given(WEIGHTS.filter(any), st.data())
def test_allocate_never_gives_a_weight_more_than_itself(weights: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(weights)))
    assert all(0 <= share <= weight for share, weight in zip(allocate(total, weights), weights, strict=True))


@given(WEIGHTS)
def test_allocate_of_the_whole_gives_the_weights(weights: list[int]) -> None:
    assert allocate(sum(weights), weights) == weights


def test_allocate_serves_equal_remainders_in_order() -> None:
    assert allocate(100, [1, 1, 1]) == [34, 33, 33]
    assert allocate(-100, [1, 1, 1]) == [-34, -33, -33]


def test_allocate_refuses_what_it_cannot_carry() -> None:
    with pytest.raises(ValueError, match="no weight"):
        allocate(1, [0, 0])
    with pytest.raises(ValueError, match="negative"):
        allocate(1, [2, -1])
    assert allocate(0, [0, 0]) == [0, 0]
    assert allocate(0, []) == []
