from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given

from billing.rating.discounts import HitDiscount, HitDiscounts, InvalidDiscount, discount_on
from tests.billing.rating.strategies import AMOUNTS, PERCENTS

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)


def discount(
    percent: str, *, outcome: str = "exact", model: str = "", pool: str = "", start: datetime = JANUARY
) -> HitDiscount:
    return HitDiscount(outcome, model, pool, Decimal(percent), start)


def percent_at(
    rows: list[HitDiscount],
    *,
    outcome: str = "exact",
    model: str = "m",
    pool: str = "input",
    at: datetime = MAY,
) -> Decimal:
    return HitDiscounts(rows).percent_at(outcome=outcome, model=model, pool=pool, instant=at)


@pytest.mark.parametrize(
    ("outcome", "percent"), [("miss", 0), ("bypass", 0), ("exact", 100), ("coalesced", 100), ("semantic", 0)]
)
def test_without_rows_exact_and_coalesced_hits_are_free(outcome: str, percent: int) -> None:
    assert percent_at([], outcome=outcome) == percent


def test_the_most_specific_discount_wins_whatever_the_order() -> None:
    rows = [
        discount("10"),
        discount("20", pool="input"),
        discount("30", model="m"),
        discount("40", model="m", pool="input"),
    ]
    for given_rows in (rows, rows[::-1]):
        assert percent_at(given_rows) == 40
        assert percent_at(given_rows, pool="output") == 30
        assert percent_at(given_rows, model="other") == 20
        assert percent_at(given_rows, model="other", pool="output") == 10
        assert percent_at(given_rows, outcome="coalesced") == 100


def test_a_specific_discount_waits_for_its_day() -> None:
    rows = [discount("10"), discount("40", model="m", start=MARCH), discount("50", model="m", start=MAY)]
    assert percent_at(rows, at=JANUARY) == 10
    assert percent_at(rows, at=MARCH) == 40
    assert percent_at(rows, at=MAY) == 50


def test_a_discount_of_zero_is_a_discount_not_an_absence() -> None:
    assert percent_at([discount("0")]) == 0
    assert percent_at([discount("70"), discount("0", model="m")]) == 0


@given(AMOUNTS, PERCENTS)
def test_discount_on_keeps_every_digit(amount: Decimal, percent: Decimal) -> None:
    assert Fraction(discount_on(amount, percent)) == Fraction(amount) * Fraction(percent) / 100


@pytest.mark.parametrize(
    "percent", [Decimal(-1), Decimal("100.0001"), Decimal("0.00001"), 50.0, Decimal("NaN")]
)
def test_a_percentage_out_of_bounds_is_refused(percent: Any) -> None:
    with pytest.raises(InvalidDiscount, match="percent"):
        HitDiscounts([HitDiscount("exact", "", "", percent, JANUARY)])


@pytest.mark.parametrize("outcome", ["miss", "bypass", "warm"])
def test_only_hits_have_discounts(outcome: str) -> None:
    with pytest.raises(InvalidDiscount, match="no hit"):
        HitDiscounts([discount("5", outcome=outcome)])
