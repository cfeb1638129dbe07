"""Asks Redis, for all calls of one event-loop turn at once, and goes on alone while Redis is away.

What calls ask in one turn is collected, and at its end each tenant's part leaves as one script call (a tenant's
counters share a hash tag, and so a slot of a cluster); the link sends all of them in one write. Nothing waits for
a settlement: one that Redis did not acknowledge is sent again for as long as the script knows it by its call,
and is then left to the sweep that compares counters with PostgreSQL.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from typing import NamedTuple

from cacheproxy.gateway.limits.local import LocalCounters
from cacheproxy.gateway.limits.operations import FREE, Operation, Verdict, decode, encode
from cacheproxy.gateway.limits.script import ARBITER
from cacheproxy.gateway.tasks import end
from cacheproxy.redis_link import RedisAway, RedisLink, RedisRefused

logger = logging.getLogger(__name__)

MAX_OWED = 65_536
"""Settlements that wait for Redis; beyond, the oldest are left to the sweep."""


class _Waiting(NamedTuple):
    operation: Operation
    verdict: asyncio.Future[Verdict] | None = None
    """Whoever waits for it; nobody waits for a settlement."""
    until_ms: int = 0
    """Until when a settlement may be sent again."""


class Arbiter:
    """The way to the counters: ``start()``, then takes and settlements, then ``stop()``."""

    def __init__(self, link: RedisLink | None, *, lease_seconds: float) -> None:
        self._link = link
        self._lease_ms = int(lease_seconds * 1000)
        self._waiting: defaultdict[int, list[_Waiting]] = defaultdict(list)
        self._owed: deque[_Waiting] = deque()
        self._held: dict[str, Operation] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self.local = LocalCounters()
        self.alone = False
        """Whether Redis did not answer last time."""
        self.decided_alone = 0
        """Calls that this process let in or refused without Redis."""
        self.left_to_sweep = 0
        """Settlements that Redis never acknowledged."""

    async def start(self) -> None:
        """Begin to renew the leases of calls under way."""
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Tell Redis what it was not told yet, as far as it answers."""
        if self._keeper is not None:
            await end(self._keeper)
        self._pay()
        self._flush()
        if self._sending:
            await asyncio.wait(self._sending)

    async def take(self, operation: Operation) -> Verdict:
        """Return whether the call may go on; if so, it holds what it took until it is settled."""
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._ask(_Waiting(operation, verdict))
        try:
            return await verdict
        except asyncio.CancelledError:
            self.settle(operation, given_back(operation))
            raise

    def settle(self, taken: Operation, settlement: Operation) -> None:
        """Give back what the call holds and charge what it cost. Waits for nothing; only once for a call."""
        self._held.pop(taken.call_id, None)
        self.local.charge(settlement)
        self._ask(_Waiting(settlement, until_ms=_now_ms() + self._lease_ms))

    def _ask(self, waiting: _Waiting) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting[waiting.operation.tenant_id].append(waiting)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, defaultdict(list)
        for part in waiting.values():
            task = asyncio.create_task(self._send(part))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, part: list[_Waiting]) -> None:
        try:
            verdicts = await self._run([waiting.operation for waiting in part])
        except (RedisAway, RedisRefused) as failure:
            self._went_away(failure)
            for waiting in part:
                self._decide_alone(waiting)
            return
        self._came_back()
        for waiting, verdict in zip(part, verdicts, strict=True):
            self._take_verdict(waiting, verdict)

    async def _run(self, operations: list[Operation]) -> list[Verdict]:
        if self._link is None:
            raise RedisAway("none is configured")
        keys, argument = encode(operations)
        return decode(await self._link.run(ARBITER, keys, argument, self._lease_ms))

    def _take_verdict(self, waiting: _Waiting, verdict: Verdict) -> None:
        operation = waiting.operation
        self.local.learn(operation, verdict, _now_ms())
        if waiting.verdict is not None:
            self._give(waiting.verdict, operation, verdict)
        elif operation.kind == "settle":
            self.local.told(operation)

    def _decide_alone(self, waiting: _Waiting) -> None:
        operation, now_ms = waiting.operation, _now_ms()
        if waiting.verdict is not None:
            self.decided_alone += 1
            verdict = self.local.take(operation, self._held.values(), now_ms)
            if verdict.refused:  # Redis may have taken it, and only its reply be late
                self._owe(_Waiting(given_back(operation), until_ms=now_ms + self._lease_ms))
            self._give(waiting.verdict, operation, verdict)
        elif operation.kind == "settle":
            self.local.settle(operation, now_ms)
            self._owe(waiting)

    def _give(self, future: asyncio.Future[Verdict], operation: Operation, verdict: Verdict) -> None:
        if not future.done():
            if verdict.refused == FREE:
                self._held[operation.call_id] = operation
            future.set_result(verdict)

    def _owe(self, waiting: _Waiting) -> None:
        """Keep a settlement to be sent again, without the rates: these correct themselves within a minute."""
        if self._link is None:
            return
        if len(self._owed) >= MAX_OWED:
            self._leave(self._owed.popleft().operation)
        self._owed.append(waiting._replace(operation=waiting.operation._replace(rates=())))

    def _leave(self, operation: Operation) -> None:
        self.local.left(operation)
        self.left_to_sweep += 1

    def _pay(self) -> None:
        """Send again what Redis did not acknowledge, while that is sure to count once."""
        now_ms, owed = _now_ms(), self._owed
        self._owed = deque()
        for debt in owed:
            if debt.until_ms > now_ms:
                self._ask(debt)
            else:
                self._leave(debt.operation)

    async def _keep(self) -> None:
        """Renew leases, three times in their life; and pay debts."""
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            self._pay()
            for operation in self._held.values():
                self._ask(_Waiting(operation._replace(kind="renew", rates=())))

    def _went_away(self, failure: Exception) -> None:
        if not self.alone and self._link is not None:
            logger.warning(
                "Redis does not answer (%s); each gateway holds the limits alone. Check REDIS_URL and the server.",
                failure,
            )
        self.alone = True

    def _came_back(self) -> None:
        if self.alone:
            logger.info("Redis answers again; %d calls were decided without it so far.", self.decided_alone)
            self.alone = False
            self._pay()


def given_back(taken: Operation) -> Operation:
    """Return the settlement of a call that used nothing and costs nothing: everything goes back."""
    return taken._replace(
        kind="settle",
        rates=tuple(rate._replace(cost=-rate.cost) for rate in taken.rates),
        budgets=tuple(budget._replace(nano=0) for budget in taken.budgets),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
