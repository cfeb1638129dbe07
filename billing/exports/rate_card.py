"""A rate card: what one token or unit costs at an instant, for every model and outcome that a plan prices.

Prices and discounts are picked by `billing.rating` alone. What is left to whoever holds the card is to
multiply a quantity by a rate, which is exact because rating is linear: list = quantity × amount / per.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from billing.rating.price_book import PriceBook, RatedUsage
from metering.tokens import BILLABLE
from metering.usage_event import OUTCOMES


class Rates(NamedTuple):
    """The rates of one model and outcome: pool → money for one token or unit; a missing pool has no price."""

    model: str
    outcome: str
    by_pool: dict[str, RatedUsage]


def rate_card(book: PriceBook, instant: datetime) -> Iterator[Rates]:
    """Yield the rates in force at *instant* of each model under each outcome."""
    for model in book.models:
        for outcome in OUTCOMES:
            rated = {
                pool: book.rate(model=model, pool=pool, outcome=outcome, quantity=1, instant=instant)
                for pool in BILLABLE
            }
            yield Rates(model, outcome, {pool: rate for pool, rate in rated.items() if rate is not None})
