"""What holds whatever happens: rates, and the sum of charges."""

import asyncio
import random
from decimal import Decimal
from typing import Any

import redis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cacheproxy.gateway.limits.errors import BudgetExceeded
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.limits.local import LocalCounters
from cacheproxy.gateway.limits.operations import FREE, Operation, RateShare, decode, encode
from cacheproxy.gateway.limits.rules import Budget
from cacheproxy.gateway.limits.script import ARBITER, UNIT
from cacheproxy.redis_link import RedisAway, RedisLink
from cacheproxy.redis_places import OneServer
from metering.tokens import TokenPools
from tests.cacheproxy.gateway.limits.party import NANO, Party, budget, linked

MINUTE_MS = 60_000


@given(
    per_minute=st.integers(1, 10_000),
    calls=st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 50)), max_size=200),
)
def test_a_rate_never_admits_more_than_its_burst_and_what_drains(
    per_minute: int, calls: list[tuple[int, int]]
) -> None:
    counters, now_ms = LocalCounters(), 1_700_000_000_000
    admitted: list[tuple[int, int]] = []
    for pause_ms, cost in calls:
        now_ms += pause_ms
        operation = Operation("take", 1, "call", (RateShare(b"rate", per_minute, cost),))
        if counters.take(operation, (), now_ms).refused == FREE:
            admitted.append((now_ms, cost))
    for first in range(len(admitted)):
        used = 0
        for instant_ms, cost in admitted[first:]:
            used += cost
            assert used * UNIT <= per_minute * (UNIT + instant_ms - admitted[first][0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    per_minute=st.integers(1, 2**31 - 1),
    share=st.fractions(0, 1),
    age_ms=st.integers(0, MINUTE_MS),
    cost_share=st.fractions(0, 1),
)
async def test_the_script_reckons_as_python_does(
    link: RedisLink, per_minute: int, share: Any, age_ms: int, cost_share: Any
) -> None:
    level, cost = int(share * per_minute * UNIT), max(1, int(cost_share * per_minute))
    seconds, micros = await link.ask("TIME")
    at_ms = int(seconds) * 1000 + int(micros) // 1000 - age_ms
    await link.ask("SET", b"rate", f"{level} {at_ms}")
    operation = Operation("take", 1, "call", (RateShare(b"rate", per_minute, cost),))
    keys, argument = encode([operation])
    (verdict,) = decode(await link.run(ARBITER, keys, argument, 1000))
    kept = await link.ask("GET", b"rate")
    assume(kept is not None)  # so little that it has drained by now
    elapsed_ms = (int(kept.split()[1]) if verdict.refused == FREE else at_ms + age_ms) - at_ms
    before = max(0, level - elapsed_ms * per_minute)
    if verdict.refused == FREE:
        assert verdict.levels == [before + cost * UNIT]
        assert before + cost * UNIT <= per_minute * UNIT
    else:
        assert before + cost * UNIT > per_minute * UNIT
        over = level - age_ms * per_minute + (cost - per_minute) * UNIT
        assert verdict.wait_ms <= -(-over // per_minute)


class Forgetful(RedisLink):
    """A link that loses replies: the script has run, and nobody hears of it."""

    losses: list[bool] = []

    async def run(self, *asked: Any) -> Any:
        reply = await super().run(*asked)
        if self.losses and self.losses.pop():
            raise RedisAway("the reply was lost")
        return reply


class History:
    """Calls of two gateways on one budget, some of which die."""

    def __init__(self, link: RedisLink, limit: Budget) -> None:
        self.party = Party(budgets=(limit,))
        self.link = link
        self.gateways = [self.party.limits(self.link) for _ in range(2)]
        self.under_way: list[tuple[int, Any]] = []
        self.charged = 0

    async def step(self, action: str, which: int, nano: int) -> None:
        gateway = which % 2
        if action == "take":
            try:
                grant = await self.gateways[gateway].admit(self.party.ask())
            except BudgetExceeded:
                return
            self.under_way.append((gateway, grant))
        elif action == "crash":
            self.gateways[gateway] = self.party.limits(self.link)
            self.under_way = [entry for entry in self.under_way if entry[0] != gateway]
        elif self.under_way:
            _, grant = self.under_way.pop(which % len(self.under_way))
            if action == "settle":
                grant.settle(TokenPools(), Decimal(nano) / NANO)
                self.charged += nano
            else:
                grant.release()
            await asyncio.sleep(0)
            await self.told()

    async def told(self) -> None:
        for gateway in self.gateways:
            await gateway.arbiter.stop()

    async def end(self) -> None:
        while self.under_way:
            self.under_way.pop()[1].release()
        for _ in range(10):  # replies that are lost again and again
            await self.told()


actions = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "settle", "settle", "release", "crash"]),
        st.integers(0, 10),
        st.integers(0, 60_000),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=actions, losses=st.lists(st.booleans(), max_size=12))
async def test_spend_is_the_sum_of_charges_and_reservations_come_back(
    redis_url: str, steps: list[tuple[str, int, int]], losses: list[bool]
) -> None:
    limit = budget("0.0005")
    link = Forgetful(OneServer(redis_url), budget_seconds=5)
    link.losses = losses.copy()
    with redis.Redis.from_url(redis_url) as server:
        server.flushdb()
        await link.connect()
        history = History(link, limit)
        for action, which, nano in steps:
            await history.step(action, which, nano)
        await history.end()
        counter = server.hgetall(history.party.counter(limit))
        assert int(counter.get(b"spent", 0)) == history.charged
        of_the_dead = {name: int(kept[1:]) for name, kept in counter.items() if kept.startswith(b"r")}
        assert int(counter.get(b"reserved", 0)) == sum(of_the_dead.values())
        # They hold what they reserved until it expires; then it is nobody's.
        if of_the_dead:
            server.zadd(history.party.counter(limit) + b":x", dict.fromkeys(of_the_dead, 0))
        await history.step("take", 0, 0)
        await history.end()
        await link.close()
        counter = server.hgetall(history.party.counter(limit))
        assert int(counter.get(b"reserved", 0)) == 0
        assert int(counter.get(b"spent", 0)) == history.charged


async def test_reservations_and_slots_of_the_dead_expire_by_themselves(redis_url: str) -> None:
    limit = budget("0.00005")
    async with linked(redis_url) as link:
        party = Party(budgets=(limit,))
        dead: Limits = party.limits(link, lease_seconds=0.3)
        await dead.admit(party.ask())
        alive = party.limits(link, lease_seconds=0.3)
        refusals = 0
        while True:
            try:
                await alive.admit(party.ask())
                break
            except BudgetExceeded:
                refusals += 1
                await asyncio.sleep(random.uniform(0.02, 0.05))
        assert refusals
