"""A tariff rates as its price book does, to the last digit."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.rating.price_book import PriceBook
from cacheproxy.gateway.catalog.tariff import tariff_at
from metering.tokens import POOLS, UNITS, TokenPools

NOW = datetime(2026, 11, 21, tzinfo=UTC)
amounts = st.decimals("0", "999999", places=12)
percents = st.decimals("0", "100", places=4)
counts = st.integers(0, 10**12)


@given(
    st.dictionaries(st.sampled_from((*POOLS, UNITS)), st.tuples(amounts, st.integers(0, 12)), min_size=1),
    st.dictionaries(st.sampled_from(["", *POOLS]), percents),
    st.sampled_from(["miss", "bypass", "exact", "coalesced"]),
    st.tuples(counts, counts, counts, counts, counts),
    counts,
)
def test_a_call_costs_what_the_book_says(
    prices: dict[str, tuple[Decimal, int]],
    percents: dict[str, Decimal],
    outcome: str,
    pools: tuple[int, int, int, int, int],
    units: int,
) -> None:
    since = NOW - timedelta(days=1)
    book = PriceBook.from_rows(
        currency="USD",
        prices=[
            {"model": "m", "pool": pool, "amount": amount, "per": 10**power, "effective_from": since}
            for pool, (amount, power) in prices.items()
        ],
        hit_discounts=[
            {"outcome": "exact", "model": "", "pool": pool, "percent": percent, "effective_from": since}
            for pool, percent in percents.items()
        ],
    )
    tariff = tariff_at(book, "m", NOW)
    assert tariff is not None
    used = TokenPools(*pools)
    quantities = dict(zip(POOLS, used, strict=True)) | {UNITS: units}
    rated = book.rate_call(model="m", outcome=outcome, quantities=quantities, instant=NOW)
    for _ in range(2):
        assert tariff.rate(outcome, used, units) == rated
    priced = {pool: quantity for pool, quantity in quantities.items() if pool in prices}
    known = book.rate_call(model="m", outcome=outcome, quantities=priced, instant=NOW)
    assert known is not None
    assert tariff.charged(outcome, used, units) == known.charged
