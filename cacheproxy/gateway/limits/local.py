"""What one process knows of the counters: enough for headers, and to go on alone while Redis is away.

The same arithmetic as the script's, on what Redis last said and on what this process has done since. Alone, each
gateway allows every limit in full, so that all of them together may allow more; a budget holds against the last
spend that Redis told of and what this process has spent since.
"""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from cacheproxy.gateway.limits.operations import (
    BY_BUDGET,
    BY_RATE,
    BY_SLOTS,
    FREE,
    Operation,
    RateShare,
    Verdict,
)
from cacheproxy.gateway.limits.script import UNIT

MAX_COUNTERS = 65_536
"""So many are known at once; at one more all are forgotten, which errs on the side of the customer."""


class Level(NamedTuple):
    """How full a rate was at an instant of this machine's clock."""

    level: int
    at_ms: int

    def after(self, now_ms: int, per_minute: int) -> int:
        """Return how full it is at *now_ms*."""
        return max(0, self.level - max(0, now_ms - self.at_ms) * per_minute)


EMPTY = Level(0, 0)


class LocalCounters:
    """One process's view."""

    def __init__(self) -> None:
        self.levels: dict[bytes, Level] = {}
        self._spent: dict[bytes, int] = {}
        self._untold: Counter[bytes] = Counter()
        """Charges that Redis has not acknowledged, by budget."""

    def level(self, key: bytes, per_minute: int, now_ms: int) -> int:
        """Return how full a rate is as far as is known here."""
        return self.levels.get(key, EMPTY).after(now_ms, per_minute)

    def learn(self, operation: Operation, verdict: Verdict, now_ms: int) -> None:
        """Remember what Redis said of the counters that *operation* touched."""
        if max(len(self.levels), len(self._spent)) >= MAX_COUNTERS:
            self.levels.clear()
            self._spent.clear()
        for rate, level in zip(operation.rates, verdict.levels, strict=False):
            self.levels[rate.key] = Level(level, now_ms)
        for budget, spent in zip(operation.budgets, verdict.spent, strict=False):
            self._spent[budget.key] = spent

    def charge(self, operation: Operation) -> None:
        """Count charges that Redis is about to be told of."""
        for budget in operation.budgets:
            self._untold[budget.key] += budget.nano

    def told(self, operation: Operation) -> None:
        """Count charges as acknowledged: Redis counts them from now on."""
        for budget in operation.budgets:
            self._untold[budget.key] -= budget.nano
            if not self._untold[budget.key]:
                del self._untold[budget.key]

    def left(self, operation: Operation) -> None:
        """Count charges that Redis will not be told of here, until it tells of its own count again."""
        self.told(operation)
        for budget in operation.budgets:
            self._spent[budget.key] = self._spent.get(budget.key, 0) + budget.nano

    def take(self, operation: Operation, held: Collection[Operation], now_ms: int) -> Verdict:
        """Decide alone; *held* are the calls of this process that are under way."""
        levels = [self.level(rate.key, rate.per_minute, now_ms) for rate in operation.rates]
        verdict = (
            _by_rates(operation, levels)
            or _by_slots(operation, held)
            or self._by_budgets(operation, held)
            or Verdict(FREE)
        )
        if verdict.refused == FREE:
            self._move(operation, now_ms)
        return verdict

    def settle(self, operation: Operation, now_ms: int) -> None:
        """Correct the levels alone."""
        self._move(operation, now_ms)

    def _move(self, operation: Operation, now_ms: int) -> None:
        for rate in operation.rates:
            level = self.level(rate.key, rate.per_minute, now_ms) + rate.cost * UNIT
            self.levels[rate.key] = Level(max(0, level), now_ms)

    def _by_budgets(self, operation: Operation, held: Collection[Operation]) -> Verdict | None:
        for index, budget in enumerate(operation.budgets):
            reserved = sum(other.nano for call in held for other in call.budgets if other.key == budget.key)
            spent = self._spent.get(budget.key, 0) + self._untold[budget.key]
            if budget.nano and spent + reserved + budget.nano > budget.hard_nano:
                return Verdict(BY_BUDGET, index, -1)
        return None


def _by_rates(operation: Operation, levels: list[int]) -> Verdict | None:
    for index, (rate, level) in enumerate(zip(operation.rates, levels, strict=True)):
        wait_ms = wait_for(rate, level)
        if wait_ms:
            return Verdict(BY_RATE, index, wait_ms)
    return None


def wait_for(rate: RateShare, level: int) -> int:
    """Return after how many milliseconds the rate has room for its cost: 0 now, -1 never."""
    if rate.cost > rate.per_minute:
        return -1
    return max(0, -(-(level + (rate.cost - rate.per_minute) * UNIT) // rate.per_minute))


def _by_slots(operation: Operation, held: Collection[Operation]) -> Verdict | None:
    for index, slot in enumerate(operation.slots):
        if sum(slot.key == other.key for call in held for other in call.slots) >= slot.at_once:
            return Verdict(BY_SLOTS, index)
    return None
