"""L5 with credits: a line gives back what was charged, charged + saved = list, and no invoice falls below zero."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from billing.money import exact_sum, settle, to_decimal
from billing.rating.invoice_lines import LineKey, Served
from billing.rating.price_book import rate
from billing.rating.unit import UnitPrice
from billing.rating.wrong_hits import Credit, credit_lines, that_fit
from tests.billing.rating.strategies import PERCENTS, UNIT_PRICES

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in (9, 10)]
KEYS = st.builds(
    lambda pool, price, percent: LineKey(
        "qwen", pool, "semantic", "reported", price.amount, price.per, percent
    ),
    st.sampled_from(["input", "output"]),
    UNIT_PRICES,
    PERCENTS,
)
PARTS = st.dictionaries(KEYS, st.integers(0, 2**40).map(lambda tokens: Served(tokens, 1)), max_size=3)


def credit(number: int, month: datetime, parts: dict[LineKey, Served]) -> Credit:
    return Credit(number, month, exact_sum(charged(key, served) for key, served in parts.items()), parts)


def charged(key: LineKey, served: Served) -> Decimal:
    assert key.unit_amount is not None
    assert key.per is not None
    return rate(served.quantity, UnitPrice(key.unit_amount, key.per), key.discount_percent).charged


CREDITS = st.lists(st.builds(credit, st.integers(1, 10**9), st.sampled_from(MONTHS), PARTS), max_size=12)
CARRIED = st.decimals(Decimal("-0.02"), Decimal("0.02"), places=8)
CURRENCIES = st.sampled_from(["USD", "JPY", "KWD"])


@given(CREDITS, CARRIED, CURRENCIES)
def test_l5_a_credit_is_a_discount_of_what_was_charged(
    owed: list[Credit], carried: Decimal, currency: str
) -> None:
    lines = credit_lines(owed, carried=carried, currency=currency)
    assert all(line.list_minor == 0 == line.net_minor + line.discount_minor for line in lines)
    assert all(line.list_accrued == 0 and line.net_minor <= 0 for line in lines)
    given_back = -sum(Fraction(line.net_accrued) for line in lines)
    assert given_back == sum(Fraction(credit.charged) for credit in owed)


@given(CREDITS, CURRENCIES)
def test_l5_settling_credits_neither_keeps_nor_gives_half_a_unit(owed: list[Credit], currency: str) -> None:
    carried, settled = Decimal(0), 0
    for one in owed:  # an invoice each
        lines = credit_lines([one], carried=carried, currency=currency)
        settled += sum(line.net_minor for line in lines)
        carried = exact_sum(
            [
                carried,
                *(exact_sum([line.net_accrued, -to_decimal(line.net_minor, currency)]) for line in lines),
            ]
        )
    exact = exact_sum(one.charged for one in owed)
    unit = Fraction(to_decimal(1, currency))
    assert abs(Fraction(exact) + settled * unit) <= unit / 2


@given(CREDITS, CARRIED, CURRENCIES, st.integers(0, 10**14))
def test_l5_no_invoice_falls_below_zero(
    owed: list[Credit], carried: Decimal, currency: str, charged_minor: int
) -> None:
    fitting = that_fit(owed, charged_minor=charged_minor, carried=carried, currency=currency)
    lines = credit_lines(fitting, carried=carried, currency=currency)
    assert charged_minor + sum(line.net_minor for line in lines) >= 0
    if charged_minor > settle(exact_sum([*(one.charged for one in owed), Decimal(1)]), currency):
        assert fitting == owed
