"""All models' error budgets, kept in PostgreSQL and shared by all gateways.

Every second each process adds what it found to the model's row, under a lock on the row, and goes on from the sum; of
models that it found nothing about it reads the row. While PostgreSQL is away each goes on from its own copy and keeps
its findings. A row that is gone, as where an operator deleted it, is begun anew.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import AWAY, DatabaseAway, connect, describe
from cacheproxy.gateway.tasks import end
from cacheproxy.semantic.budget.account import Account, State
from cacheproxy.semantic.budget.budget import Budget, News, tell
from cacheproxy.semantic.budget.rules import Rules

logger = logging.getLogger(__name__)

SECONDS = 1.0

_MAKE = """
INSERT INTO cacheproxy_semanticbudget (model, version, state, updated_at) VALUES ($1, $2, '{}', $3)
ON CONFLICT DO NOTHING
"""
_LOCK = "SELECT state FROM cacheproxy_semanticbudget WHERE model = $1 AND version = $2 FOR UPDATE"
_READ = "SELECT state FROM cacheproxy_semanticbudget WHERE model = $1 AND version = $2"
_WRITE = "UPDATE cacheproxy_semanticbudget SET state = $3, updated_at = $4 WHERE model = $1 AND version = $2"
_decode = msgspec.json.Decoder(State).decode


class Ledger:
    """The budgets that this process takes part in."""

    def __init__(
        self,
        settings: GatewaySettings,
        clock: Callable[[], datetime],
        *,
        draw: random.Random | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._draw = draw or random.Random()  # noqa: S311 - whom it picks is no secret worth guessing
        self._seconds = seconds
        self._budgets: dict[tuple[str, str], Budget] = {}
        self._said: set[tuple[str, str]] = set()
        """Of which models the log was told that they are shut off."""
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Begin to exchange findings."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Tell what there is to tell, and stop."""
        if self._task is not None:
            await end(self._task)
        await self.exchange()
        await self._let_go()

    def budget(self, model: str, version: str, rules: Rules) -> Budget:
        """Return the budget of a model's version. Other rules than before are in force from now on."""
        budget = self._budgets.get((model, version))
        if budget is None:
            budget = self._budgets[model, version] = Budget(rules, self._draw)
        elif budget.rules != rules:
            budget.change(rules)
        return budget

    def accounts(self) -> Mapping[tuple[str, str], Account]:
        """Return what is known of each budget, by model and version."""
        return {name: budget.account for name, budget in self._budgets.items()}

    async def exchange(self) -> None:
        """Tell the others what was found here, and go on from what all found. While PostgreSQL is away, do nothing."""
        async with self._turn:
            await self._exchange()

    async def _exchange(self) -> None:
        for (model, version), budget in list(self._budgets.items()):
            news = budget.take_news()
            try:
                state = await self._told(model, version, budget.rules, news)
            except (*AWAY, DatabaseAway) as failure:
                budget.give_back(news)
                self._went_away(failure)
                await self._let_go()
                return
            except BaseException:
                budget.give_back(news)
                raise
            budget.adopt(state)
            self._say(model, version, budget.account)
        self._away = False

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.exchange()

    async def _told(self, model: str, version: str, rules: Rules, news: News) -> State:
        """Return the model's state with *news* in it, for good."""
        if self._connection is None:
            self._connection = await connect(
                self._settings, application_name="zerorate gateway: error budgets"
            )
        async with asyncio.timeout(self._settings.database_timeout_seconds):
            if not (news.lookups or news.checks):
                kept = await self._connection.fetchval(_READ, model, version)
                return _decode(kept or "{}")
            async with self._connection.transaction():
                now = self._clock()
                await self._connection.execute(_MAKE, model, version, now)
                account = Account(rules, _decode(await self._connection.fetchval(_LOCK, model, version)))
                tell(account, news)
                await self._connection.execute(
                    _WRITE, model, version, msgspec.json.encode(account.state).decode(), now
                )
        return account.state

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _went_away(self, failure: BaseException) -> None:
        if not self._away:
            logger.warning("Error budgets are not exchanged for now: %s", describe(failure))
        self._away = True

    def _say(self, model: str, version: str, account: Account) -> None:
        """Tell the log where hits were shut off, or let on again."""
        if account.state.shut == ((model, version) in self._said):
            return
        self._said ^= {(model, version)}
        if not account.state.shut:
            logger.warning("Semantic hits of %s are served again.", model)
            return
        logger.warning(
            "Semantic hits of %s are shut off: up to %.2f %% of them may be wrong, and %.2f %% are tolerated."
            " Calls go to the upstream, and go on being compared.",
            model,
            100 * account.upper,
            100 * account.tolerance,
        )
