"""What one model costs on one plan until something changes: a slice of the price book that calls can share."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from billing.money import ZERO, add_multiple, exact_difference, format_decimal
from billing.rating.price_book import PriceBook, RatedUsage, add_up
from metering.tokens import POOLS, UNITS, TokenPools

Header = tuple[bytes, bytes]
_FAR = datetime(9999, 12, 31, tzinfo=UTC)


class Tariff(msgspec.Struct, frozen=True, eq=False):
    """The prices of *model* over ``[since, until)``, in which no price and no discount changes."""

    book: PriceBook
    model: str
    since: datetime
    until: datetime
    rates: dict[str, tuple[RatedUsage | None, ...]] = msgspec.field(default_factory=dict)
    """Outcome → what one token of each pool, and one unit, cost; filled as it is asked for."""

    def in_force(self, now: datetime) -> bool:
        """Return whether *now* is inside the span."""
        return self.since <= now < self.until

    @property
    def prices_output(self) -> bool:
        """Return whether output tokens cost anything, as they do of models that write."""
        return self.book.price_at(model=self.model, pool="output", instant=self.since) is not None

    def list_price(self, pools: TokenPools, *, units: int) -> Decimal:
        """Return what a miss would cost; pools without a price add nothing, as on an invoice."""
        return self.charged("miss", pools, units)

    def charged(self, outcome: str, pools: TokenPools, units: int) -> Decimal:
        """Return what a call costs, exactly; pools without a price add nothing, as on an invoice."""
        return self._rated(outcome, pools, units)[0].charged

    def rate(self, outcome: str, pools: TokenPools, units: int) -> RatedUsage | None:
        """Return what a call costs; None where a pool that was used has no price."""
        rated, is_whole = self._rated(outcome, pools, units)
        return rated if is_whole else None

    def _rated(self, outcome: str, pools: TokenPools, units: int) -> tuple[RatedUsage, bool]:
        """Return what the pools that have a price cost, and whether that is all that were used."""
        listed, discount, is_whole = ZERO, ZERO, True
        for quantity, rate in zip((*pools, units), self._rates(outcome), strict=True):
            if not quantity:
                continue
            if rate is None:
                is_whole = False
                continue
            listed = add_multiple(listed, rate.list, quantity)
            if rate.discount:
                discount = add_multiple(discount, rate.discount, quantity)
        charged = exact_difference(listed, discount) if discount else listed
        return RatedUsage(listed, discount, charged), is_whole

    def _rates(self, outcome: str) -> tuple[RatedUsage | None, ...]:
        """Return what one token of each pool, and one unit, cost. Nothing of it changes within the span."""
        rates = self.rates.get(outcome)
        if rates is None:
            rates = self.rates[outcome] = tuple(
                self.book.rate(model=self.model, pool=pool, outcome=outcome, quantity=1, instant=self.since)
                for pool in (*POOLS, UNITS)
            )
        return rates

    def cost_headers(self, *parts: tuple[str, TokenPools, int]) -> list[Header]:
        """Return the three cost headers of a call's parts (outcome, pools, units): exact decimals and the currency.

        None are returned where a pool that was used has no price: a part of a cost would be read as the whole.
        """
        rates = [self.rate(*part) for part in parts]
        known = [rate for rate in rates if rate is not None]
        if len(known) < len(rates):
            return []
        rated = known[0] if len(known) == 1 else add_up(known)
        listed = self._written(rated.list)
        return [
            (b"x-zerorate-list-cost", listed),
            (b"x-zerorate-cost", self._written(rated.charged) if rated.discount else listed),
            (b"x-zerorate-saved", self._written(rated.discount)),
        ]

    def _written(self, amount: Decimal) -> bytes:
        return f"{format_decimal(amount)} {self.book.currency}".encode()


def tariff_at(book: PriceBook, model: str, now: datetime) -> Tariff | None:
    """Return the prices of *model* in force from *now* until the next change; None where the plan does not sell it."""
    if not book.sells(model=model, instant=now):
        return None
    return Tariff(
        book=book, model=model, since=now, until=next(iter(book.change_instants((now, _FAR))), _FAR)
    )
