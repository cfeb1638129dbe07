"""What a call that was let in holds until it ends."""

from decimal import Decimal

from billing.money import billionths
from cacheproxy.gateway.limits.arbiter import Arbiter, given_back
from cacheproxy.gateway.limits.operations import Operation
from metering.tokens import TokenPools


class Grant:
    """Leave to go on. This one holds nothing: it is what a caller without limits gets."""

    def settle(self, pools: TokenPools, charged: Decimal) -> None:
        """Replace what was estimated by what the call really used and cost, in the plan's currency.

        Returns at once; only the first of `settle` and `release` counts. A call that failed at the upstream
        settles with no tokens and nothing charged: it stays counted as a request.
        """

    def release(self) -> None:
        """Give everything back, as if the call had never been: it was answered from the cache, or never left.

        Returns at once; only the first of `settle` and `release` counts.
        """


NO_GRANT = Grant()


class HeldGrant(Grant):
    """Shares of rates, slots and budgets."""

    __slots__ = ("_arbiter", "_ended", "_taken")

    def __init__(self, arbiter: Arbiter, taken: Operation) -> None:
        self._arbiter = arbiter
        self._taken = taken
        self._ended = False

    def settle(self, pools: TokenPools, charged: Decimal) -> None:
        """Correct the tokens, charge the budgets, rounded up to a billionth, and free the slots."""
        taken, nano = self._taken, billionths(charged)
        rates = tuple(rate._replace(cost=pools.total - rate.cost) for rate in taken.rates if rate.is_tokens)
        budgets = tuple(budget._replace(nano=nano) for budget in taken.budgets)
        self._end(taken._replace(kind="settle", rates=rates, budgets=budgets))

    def release(self) -> None:
        """Give everything back."""
        self._end(given_back(self._taken))

    def _end(self, settlement: Operation) -> None:
        if not self._ended:
            self._ended = True
            self._arbiter.settle(self._taken, settlement)
