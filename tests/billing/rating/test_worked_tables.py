"""The tables of docs/rating.md, read from the page and recomputed."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import dropwhile, takewhile
from pathlib import Path

from billing.money import allocate, exact_sum, settle, to_decimal
from billing.rating.discounts import HitDiscount, HitDiscounts
from billing.rating.invoice_lines import LineKey, Served
from billing.rating.price_book import Price, PriceBook, rate
from billing.rating.unit import unit_price
from billing.rating.wrong_hits import Credit, credit_lines

PAGE = Path(__file__).parents[3] / "docs" / "rating.md"
START = datetime(2026, 1, 1, tzinfo=UTC)
QUARTER_PAST_NOON = datetime(2026, 3, 17, 12, 15, tzinfo=UTC)
MILLION = 1_000_000


def table(number: int) -> list[list[str]]:
    lines = PAGE.read_text().split(f"**Table {number}.**")[1].splitlines()
    rows = list(takewhile(is_row, dropwhile(lambda line: not is_row(line), lines)))
    assert len(rows) > 2
    return [[cell.strip().replace(",", "") for cell in row.strip("|").split("|")] for row in rows[2:]]


def is_row(line: str) -> bool:
    return line.startswith("|")


def test_table_1_rates_by_outcome() -> None:
    book = PriceBook(
        currency="USD",
        prices=[
            Price("m", "input", Decimal("0.50"), MILLION, START),
            Price("m", "output", Decimal("1.50"), MILLION, START),
        ],
        hit_discounts=[HitDiscount("semantic", "", "", Decimal(80), START)],
    )
    for outcome, pool, quantity, *money in table(1):
        rated = book.rate(
            model="m", pool=pool, outcome=outcome, quantity=int(quantity), instant=QUARTER_PAST_NOON
        )
        assert rated == tuple(Decimal(figure) for figure in money)


def test_table_2_the_most_specific_discount() -> None:
    rows = [("", "", 50), ("", "output", 60), ("m", "", 70), ("m", "output", 80)]
    discounts = HitDiscounts(
        HitDiscount("exact", model, pool, Decimal(percent), START) for model, pool, percent in rows
    )
    for model, pool, percent in table(2):
        found = discounts.percent_at(outcome="exact", model=model, pool=pool, instant=QUARTER_PAST_NOON)
        assert found == Decimal(percent)


def test_table_3_a_price_cut_to_the_microsecond() -> None:
    amounts = [(START, "0.50"), (QUARTER_PAST_NOON, "0.05")]
    prices = [Price("m", "input", Decimal(amount), MILLION, start) for start, amount in amounts]
    book = PriceBook(currency="USD", prices=prices, hit_discounts=[])
    for clock, quantity, listed in table(3):
        instant = datetime.fromisoformat(f"2026-03-17T{clock}+00:00")
        rated = book.rate(model="m", pool="input", outcome="miss", quantity=int(quantity), instant=instant)
        assert rated is not None
        assert rated.list == Decimal(listed)


def test_table_4_a_line_is_settled_once() -> None:
    for exact_list, percent, exact_charged, listed, discount, net in table(4):
        rated = rate(1, unit_price(Decimal(exact_list), 1), Decimal(percent))
        list_minor, net_minor = settle(rated.list, "USD"), settle(rated.charged, "USD")
        assert rated.charged == Decimal(exact_charged)
        assert [list_minor, list_minor - net_minor, net_minor] == [
            int(Decimal(text) * 100) for text in (listed, discount, net)
        ]


def test_table_5_largest_remainder() -> None:
    for credit, remaining, shares in table(5):
        weights = [int(weight) for weight in remaining.split("·")]
        assert allocate(int(credit), weights) == [int(share) for share in shares.split("·")]


def test_table_6_what_settling_leaves_of_a_credit_is_carried() -> None:
    key = LineKey("m", "input", "semantic", "reported", Decimal("0.50"), MILLION, Decimal(80))
    for _, exact, carried, credited, left in table(6):
        hit = Credit(1, START, Decimal(exact), {key: Served(20_000, 1)})
        (line,) = credit_lines([hit], carried=-Decimal(carried), currency="USD")
        assert line.net_accrued == -Decimal(exact)
        assert to_decimal(line.net_minor, "USD") == -Decimal(credited)
        given_back = to_decimal(-line.net_minor, "USD")
        assert exact_sum([Decimal(carried), Decimal(exact), -given_back]) == Decimal(left.replace("−", "-"))
