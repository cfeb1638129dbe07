"""One process's part in a model's error budget: what may be served, and what is still to be told to the others."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from cacheproxy.semantic.budget.account import Account, State
from cacheproxy.semantic.budget.rules import Rules

MAX_UNTOLD = 10_000


class Check(NamedTuple):
    """What the upstream's answer said about a stored one."""

    region: int
    wrong: bool
    vouched: bool = False


class News(NamedTuple):
    """What a process has to add to the state."""

    lookups: int
    candidates: int
    checks: Sequence[Check]


class Decision(NamedTuple):
    """What becomes of a candidate."""

    serve: bool
    check: bool
    """Whether its answer is to be compared with the upstream's. Always where it is not served: the upstream is asked
    then anyway."""
    reason: str
    """`open`, or why it is not served: `closed` (its region) or `shut` (the model)."""


class Budget:
    """A copy of the state, moved on by this process's own findings until the next exchange with the others."""

    def __init__(self, rules: Rules, draw: random.Random) -> None:
        self.rules = rules
        self.account = Account(rules)
        self._draw = draw
        self._lookups = 0
        self._candidates = 0
        self._checks: list[Check] = []

    def decide(self, region: int | None, *, vouched: bool = False) -> Decision | None:
        """Return what becomes of a call's candidate in *region*; a call without one is counted as well."""
        self._lookups += 1
        self._candidates += region is not None
        self.account.look_up(1, int(region is not None))
        if region is None:
            return None
        if not self.account.opens(region, vouched=vouched):
            return Decision(serve=False, check=True, reason="closed")
        if self.account.state.shut:
            return Decision(serve=False, check=True, reason="shut")
        check = self._draw.random() < self.account.check_rate
        return Decision(serve=True, check=check, reason="open")

    def checked(self, region: int, *, wrong: bool, vouched: bool = False) -> None:
        """Take in what a check found."""
        self.account.check(region, wrong=wrong, vouched=vouched)
        if len(self._checks) < MAX_UNTOLD:
            self._checks.append(Check(region, wrong, vouched))

    def take_news(self) -> News:
        """Return what the others were not told, which from now on they were."""
        news = News(self._lookups, self._candidates, self._checks)
        self._lookups, self._candidates, self._checks = 0, 0, []
        return news

    def give_back(self, news: News) -> None:
        """Take news back that did not reach the others."""
        self._lookups += news.lookups
        self._candidates += news.candidates
        self._checks = [*news.checks, *self._checks][:MAX_UNTOLD]

    def adopt(self, state: State) -> None:
        """Go on from *state*, which all but the latest news are in."""
        self.account = Account(self.rules, state)
        tell(self.account, News(self._lookups, self._candidates, self._checks))

    def change(self, rules: Rules) -> None:
        """Go on under other rules."""
        self.rules = rules
        self.account = Account(rules, self.account.state)


def tell(account: Account, news: News) -> None:
    """Move *account* on by *news*."""
    if news.lookups:
        account.look_up(news.lookups, news.candidates)
    for check in news.checks:
        account.check(check.region, wrong=check.wrong, vouched=check.vouched)
