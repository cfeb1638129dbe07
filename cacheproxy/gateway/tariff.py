"""What one model costs on one plan until something changes: a slice of the price book that calls can share."""

from datetime import UTC, datetime

import msgspec

from billing.money import format_decimal
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

    def in_force(self, now: datetime) -> bool:
        """Return whether *now* is inside the span."""
        return self.since <= now < self.until

    def rate(self, outcome: str, pools: TokenPools, units: int) -> RatedUsage | None:
        """Return what a call costs; None where a pool that was used has no price."""
        quantities = dict(zip(POOLS, pools, strict=True)) | {UNITS: units}
        return self.book.rate_call(
            model=self.model, outcome=outcome, quantities=quantities, instant=self.since
        )

    def cost_headers(self, *parts: tuple[str, TokenPools, int]) -> list[Header]:
        """Return the three cost headers of a call's parts (outcome, pools, units): exact decimals and the currency.

        None are returned where a pool that was used has no price: a part of a cost would be read as the whole.
        """
        rates = [self.rate(*part) for part in parts]
        known = [rate for rate in rates if rate is not None]
        if len(known) < len(rates):
            return []
        rated = add_up(known)
        amounts = (
            (b"x-zerorate-list-cost", rated.list),
            (b"x-zerorate-cost", rated.charged),
            (b"x-zerorate-saved", rated.discount),
        )
        return [(name, f"{format_decimal(amount)} {self.book.currency}".encode()) for name, amount in amounts]


def tariff_at(book: PriceBook, model: str, now: datetime) -> Tariff | None:
    """Return the prices of *model* in force from *now* until the next change; None where the plan does not sell it."""
    if not book.sells(model=model, instant=now):
        return None
    return Tariff(
        book=book, model=model, since=now, until=next(iter(book.change_instants((now, _FAR))), _FAR)
    )
