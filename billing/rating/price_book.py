"""The price book of a plan: what each pool of each model costs, and what its hits do not.

Everything is effective-dated: usage is rated with what was in force when it occurred. See docs/rating.md.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from billing.money import exact_difference, exact_sum, format_decimal
from billing.rating.discounts import HitDiscount, HitDiscounts, discount_on
from billing.rating.timeline import Timeline
from billing.rating.unit import InvalidPrice, UnitPrice, list_price, unit_price


class Price(NamedTuple):
    """A price of one pool of one model, in force from an instant until its successor's."""

    model: str
    pool: str
    amount: Decimal
    per: int
    effective_from: datetime


class RatedUsage(NamedTuple):
    """Money that some usage accrued, exact: list = discount + charged (law L5); saved is the discount."""

    list: Decimal
    discount: Decimal
    charged: Decimal


class PriceBook:
    """The prices and hit discounts of one plan."""

    def __init__(
        self, *, currency: str, prices: Iterable[Price], hit_discounts: Iterable[HitDiscount]
    ) -> None:
        self.currency = currency
        self._prices = tuple(prices)
        self._hit_discounts = tuple(hit_discounts)
        self._discounts = HitDiscounts(self._hit_discounts)
        by_pool: defaultdict[tuple[str, str], list[tuple[datetime, UnitPrice]]] = defaultdict(list)
        for price in self._prices:
            by_pool[price.model, price.pool].append(
                (price.effective_from, unit_price(price.amount, price.per))
            )
        self._timelines = {name: Timeline(entries) for name, entries in by_pool.items()}
        self._first_price: dict[str, datetime] = {}
        for price in self._prices:
            first = self._first_price.get(price.model, price.effective_from)
            self._first_price[price.model] = min(first, price.effective_from)

    @classmethod
    def from_rows(
        cls, *, currency: str, prices: Iterable[Mapping[str, Any]], hit_discounts: Iterable[Mapping[str, Any]]
    ) -> "PriceBook":
        """Build the book from rows of the database or of JSON: decimals may be text, instants ISO 8601.

        Raises:
            InvalidPrice, InvalidDiscount: for a row that could not be rated exactly.
        """
        return cls(
            currency=currency,
            prices=[
                Price(
                    model=row["model"],
                    pool=row["pool"],
                    amount=_decimal(row["amount"]),
                    per=row["per"],
                    effective_from=_instant(row["effective_from"]),
                )
                for row in prices
            ],
            hit_discounts=[
                HitDiscount(
                    outcome=row["outcome"],
                    model=row["model"],
                    pool=row["pool"],
                    percent=_decimal(row["percent"]),
                    effective_from=_instant(row["effective_from"]),
                )
                for row in hit_discounts
            ],
        )

    @property
    def models(self) -> list[str]:
        """Return the names of all models with a price, whenever it is in force."""
        return sorted(self._first_price)

    def price_at(self, *, model: str, pool: str, instant: datetime) -> UnitPrice | None:
        """Return the price in force; None where the plan has none, which is never taken for free."""
        timeline = self._timelines.get((model, pool))
        return timeline.at(instant) if timeline else None

    def discount_at(self, *, outcome: str, model: str, pool: str, instant: datetime) -> Decimal:
        """Return the percentage off the list price, 0 for whatever is not a hit."""
        return self._discounts.percent_at(outcome=outcome, model=model, pool=pool, instant=instant)

    def sells(self, *, model: str, instant: datetime) -> bool:
        """Return whether any pool of the model has a price in force."""
        first = self._first_price.get(model)
        return first is not None and first <= instant

    def change_instants(self, period: tuple[datetime, datetime]) -> list[datetime]:
        """Return, in order, the instants inside the period at which a price or a discount changes."""
        start, end = period
        changes = self._discounts.starts()
        for timeline in self._timelines.values():
            changes.update(timeline.starts)
        return sorted(change for change in changes if start < change < end)

    def rate(
        self, *, model: str, pool: str, outcome: str, quantity: int, instant: datetime
    ) -> RatedUsage | None:
        """Rate a quantity of one pool at the prices of an instant; None where the plan has none."""
        price = self.price_at(model=model, pool=pool, instant=instant)
        if price is None:
            return None
        percent = self.discount_at(outcome=outcome, model=model, pool=pool, instant=instant)
        return rate(quantity, price, percent)

    def rate_call(
        self, *, model: str, outcome: str, quantities: Mapping[str, int], instant: datetime
    ) -> RatedUsage | None:
        """Rate one call, all its pools (pool → quantity); None where a pool that was used has no price."""
        parts = []
        for pool, quantity in quantities.items():
            if quantity:
                part = self.rate(model=model, pool=pool, outcome=outcome, quantity=quantity, instant=instant)
                if part is None:
                    return None
                parts.append(part)
        return add_up(parts)

    def version(self, *, until: datetime) -> str:
        """Return the SHA-256, in hexadecimal, of all rows that could rate usage before the instant `until`.

        The order of the rows and the way their numbers are written do not matter.
        """
        prices = [
            [row.model, row.pool, format_decimal(row.amount), row.per, _utc(row.effective_from)]
            for row in self._prices
            if row.effective_from < until
        ]
        discounts = [
            [row.outcome, row.model, row.pool, format_decimal(row.percent), _utc(row.effective_from)]
            for row in self._hit_discounts
            if row.effective_from < until
        ]
        rows = [self.currency, sorted(prices), sorted(discounts)]
        return sha256(msgspec.json.encode(rows)).hexdigest()


def combined_version(versions: Iterable[str]) -> str:
    """Return one version for several books, whatever their order and however often each is named."""
    return sha256(msgspec.json.encode(sorted(set(versions)))).hexdigest()


def rate(quantity: int, price: UnitPrice, percent: Decimal) -> RatedUsage:
    """Rate a quantity, exactly: list = quantity × price, discount = list × percent, charged = the rest."""
    listed = list_price(quantity, price)
    discount = discount_on(listed, percent)
    return RatedUsage(listed, discount, exact_difference(listed, discount))


def add_up(parts: Sequence[RatedUsage]) -> RatedUsage:
    """Return the sum of rated usage, exact; of nothing, zeros."""
    return RatedUsage(
        list=exact_sum(part.list for part in parts),
        discount=exact_sum(part.discount for part in parts),
        charged=exact_sum(part.charged for part in parts),
    )


def _decimal(value: Decimal | str) -> Decimal:
    if not isinstance(value, Decimal | str):
        raise InvalidPrice(f"{value!r} must be a decimal written as text, never a float")
    return Decimal(value)


def _instant(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _utc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
