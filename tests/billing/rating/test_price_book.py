from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.rating.discounts import HitDiscount
from billing.rating.price_book import Price, PriceBook, RatedUsage
from billing.rating.unit import InvalidPrice, UnitPrice

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
CUT = datetime(2026, 3, 17, 12, 15, tzinfo=UTC)
MILLION = 1_000_000


def price(
    amount: str, *, model: str = "m", pool: str = "input", start: datetime = JANUARY, per: int = MILLION
) -> Price:
    return Price(model, pool, Decimal(amount), per, start)


def book(*prices: Price, hit_discounts: list[HitDiscount] | None = None) -> PriceBook:
    return PriceBook(currency="USD", prices=prices, hit_discounts=hit_discounts or [])


def test_a_price_holds_from_its_instant_until_its_successors() -> None:
    prices = book(price("0.05", start=CUT), price("0.50"))
    just_before = CUT - timedelta(microseconds=1)
    assert prices.price_at(model="m", pool="input", instant=JANUARY - timedelta(microseconds=1)) is None
    assert prices.price_at(model="m", pool="input", instant=just_before) == UnitPrice(
        Decimal("0.50"), MILLION
    )
    assert prices.price_at(model="m", pool="input", instant=CUT) == UnitPrice(Decimal("0.05"), MILLION)


def test_a_missing_cache_price_is_neither_the_input_price_nor_zero() -> None:
    prices = book(price("0.50"))
    assert prices.price_at(model="m", pool="cache_read", instant=CUT) is None
    assert prices.rate(model="m", pool="cache_read", outcome="miss", quantity=10, instant=CUT) is None
    assert (
        prices.rate_call(model="m", outcome="miss", quantities={"input": 5, "cache_read": 1}, instant=CUT)
        is None
    )


def test_a_call_sums_the_pools_it_used_and_needs_no_price_for_the_others() -> None:
    prices = book(price("0.50"), price("1.50", pool="output"))
    rated = prices.rate_call(
        model="m", outcome="miss", quantities={"input": 1000, "cache_read": 0, "output": 100}, instant=CUT
    )
    assert rated == RatedUsage(Decimal("0.00065"), Decimal(0), Decimal("0.00065"))
    assert prices.rate_call(model="m", outcome="exact", quantities={}, instant=CUT) == RatedUsage(
        *[Decimal(0)] * 3
    )


def test_a_hit_is_listed_at_the_price_of_its_own_instant() -> None:
    prices = book(
        price("0.50"),
        price("0.05", start=CUT),
        hit_discounts=[HitDiscount("semantic", "", "", Decimal(80), CUT)],
    )
    before = prices.rate(model="m", pool="input", outcome="semantic", quantity=MILLION, instant=JANUARY)
    after = prices.rate(model="m", pool="input", outcome="semantic", quantity=MILLION, instant=CUT)
    assert before == RatedUsage(Decimal("0.50"), Decimal(0), Decimal("0.50"))
    assert after == RatedUsage(Decimal("0.05"), Decimal("0.04"), Decimal("0.01"))


def test_a_model_is_sold_once_any_of_its_pools_has_a_price() -> None:
    prices = book(price("1.50", pool="output", start=CUT), price("0.50", start=CUT + timedelta(days=1)))
    assert not prices.sells(model="m", instant=CUT - timedelta(microseconds=1))
    assert prices.sells(model="m", instant=CUT)
    assert not prices.sells(model="other", instant=CUT)


def test_change_instants_lie_strictly_inside_the_period_in_order() -> None:
    end = datetime(2026, 4, 1, tzinfo=UTC)
    later = CUT + timedelta(days=1)
    prices = book(
        price("1"), price("2", start=later), price("3", start=end), price("2", pool="output", start=CUT),
        hit_discounts=[HitDiscount("exact", "", "", Decimal(50), CUT)],
    )  # fmt: skip
    assert prices.change_instants((JANUARY, end)) == [CUT, later]


def test_rows_may_come_as_text() -> None:
    prices = PriceBook.from_rows(
        currency="USD",
        prices=[
            {
                "model": "m",
                "pool": "input",
                "amount": "0.50",
                "per": MILLION,
                "effective_from": "2026-01-01T00:00:00Z",
            }
        ],
        hit_discounts=[
            {"outcome": "exact", "model": "", "pool": "", "percent": "50", "effective_from": JANUARY}
        ],
    )
    rated = prices.rate(model="m", pool="input", outcome="exact", quantity=2 * MILLION, instant=CUT)
    assert rated == RatedUsage(Decimal(1), Decimal("0.5"), Decimal("0.5"))


def test_a_float_is_no_price() -> None:
    row: dict[str, Any] = {"model": "m", "pool": "input", "amount": 0.5, "per": 1, "effective_from": JANUARY}
    with pytest.raises(InvalidPrice, match="never a float"):
        PriceBook.from_rows(currency="USD", prices=[row], hit_discounts=[])


def test_the_version_names_the_rows_and_nothing_else() -> None:
    until = CUT
    same = [price("0.50"), price("1.5", pool="output")]
    version = book(*same).version(until=until)
    assert book(price("1.50", pool="output"), price("0.5000")).version(until=until) == version
    assert book(*same, price("0.1", start=CUT)).version(until=until) == version
    assert book(*same, price("0.1", start=CUT - timedelta(seconds=1))).version(until=until) != version
    assert book(price("0.51"), same[1]).version(until=until) != version
    discounted = book(*same, hit_discounts=[HitDiscount("exact", "", "", Decimal(100), JANUARY)])
    assert discounted.version(until=until) != version
