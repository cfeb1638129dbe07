"""Several gateways on one Redis, Redis away and back, and gateways that die."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.gateway.limits.errors import BudgetExceeded, RateLimited, TooManyConcurrent
from cacheproxy.gateway.limits.grants import Grant
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.limits.rules import KeyLimits, PlanLimits
from cacheproxy.redis_link import RedisLink
from tests.cacheproxy.conftest import Connect
from tests.cacheproxy.gateway.limits.party import COST, USED, Party, budget, settled
from tests.fakes.wire import Wire, wire_to_redis

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
async def wire(redis_url: str) -> AsyncIterator[Wire]:
    """Give a wire to the test's Redis."""
    wire, _ = wire_to_redis(redis_url)
    await wire.start()
    yield wire
    await wire.stop()


@pytest.fixture
async def wired(wire: Wire, redis_url: str, connect_link: Connect) -> RedisLink:
    """Give a link at the end of the wire, without much patience."""
    _, url = wire_to_redis(redis_url)
    return await connect_link(url(wire), budget_seconds=0.3)


async def let_in(limits: Limits, party: Party, count: int) -> list[Grant]:
    """Ask for so many calls at once; return the grants."""
    asked = (limits.admit(party.ask()) for _ in range(count))
    return [one for one in await asyncio.gather(*asked, return_exceptions=True) if isinstance(one, Grant)]


async def until(check: Callable[[], Any]) -> None:
    """Return once *check* says yes."""
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


async def test_two_gateways_never_exceed_a_limit_together(connect_link: Connect) -> None:
    party = Party(plan=PlanLimits(requests_per_minute=50))
    gateways = [party.limits(await connect_link()) for _ in range(2)]
    grants = await asyncio.gather(*(let_in(gateway, party, 60) for gateway in gateways))
    assert sum(map(len, grants)) == 50
    at_once = Party(key=KeyLimits(concurrent_requests=7), tenant_id=2)
    gateways = [at_once.limits(await connect_link()) for _ in range(2)]
    grants = await asyncio.gather(*(let_in(gateway, at_once, 10) for gateway in gateways))
    assert sum(map(len, grants)) == 7


async def test_two_processes_never_exceed_a_limit_nor_a_budget_together(redis_url: str, redis: Any) -> None:
    hard = "0.00301"  # sixty calls, and a fifth of one
    processes = [await start(redis_url, hard) for _ in range(2)]
    outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    admitted, charged = (
        sum(column) for column in zip(*(map(int, out.split()) for out, _ in outputs), strict=True)
    )
    assert admitted == 60
    limit = budget(hard)
    counter = await redis.hgetall(Party(budgets=(limit,)).counter(limit))
    assert (int(counter[b"spent"]), int(counter[b"reserved"])) == (charged, 0)


async def start(redis_url: str, hard_amount: str) -> asyncio.subprocess.Process:
    """Start a process that is ready to ask for 200 calls."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.cacheproxy.gateway.limits.process", redis_url, "100000", hard_amount, "200",
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def test_without_redis_each_process_holds_the_limits_alone(
    wire: Wire, wired: RedisLink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    party = Party(plan=PlanLimits(requests_per_minute=5), key=KeyLimits(concurrent_requests=4))
    limits = party.limits(wired)
    first = await let_in(limits, party, 2)
    wire.cut()
    assert len(await let_in(limits, party, 10)) == 2  # the two under way hold their slots
    with pytest.raises(TooManyConcurrent):
        await limits.admit(party.ask())
    for grant in first:
        grant.settle(USED, COST)
    assert len(await let_in(limits, party, 10)) == 1  # and they were counted as requests
    with pytest.raises(RateLimited) as refusal:
        await limits.admit(party.ask())
    assert refusal.value.retry_after_seconds == 12
    assert limits.arbiter.alone
    assert limits.arbiter.decided_alone == 22
    assert caplog.text.count("Redis does not answer") == 1
    wire.mend()
    await until_back(limits, party)
    assert caplog.text.count("Redis answers again") == 1


async def test_without_redis_a_budget_holds_against_the_last_known_spend(
    wire: Wire, wired: RedisLink, redis: Any
) -> None:
    limit = budget("0.00025")  # five calls
    party = Party(budgets=(limit,))
    limits = party.limits(wired)
    for grant in await let_in(limits, party, 2):
        grant.settle(USED, COST)
    await settled(limits)
    wire.cut()
    alone = await let_in(limits, party, 10)
    assert len(alone) == 3
    for grant in alone:
        grant.settle(USED, COST)
    with pytest.raises(BudgetExceeded):
        await limits.admit(party.ask())
    wire.mend()
    await until_back(limits, party)
    await settled(limits)
    counter = await redis.hgetall(party.counter(limit))
    assert (counter[b"spent"], counter[b"reserved"]) == (b"250000", b"0")  # it was told afterwards


async def until_back(limits: Limits, party: Party) -> None:
    """Ask until Redis decides again."""
    async with asyncio.timeout(5):
        while limits.arbiter.alone:
            for grant in await let_in(limits, party, 1):
                grant.release()
            await asyncio.sleep(0.05)


async def test_a_reply_that_was_lost_charges_nobody_twice(wire: Wire, wired: RedisLink, redis: Any) -> None:
    limit = budget("1")
    party = Party(budgets=(limit,))
    limits = party.limits(wired)
    grant = await limits.admit(party.ask())
    wire.deaf = True  # Redis does what it is told, and nobody hears of it
    grant.settle(USED, COST)
    unheard = await limits.admit(party.ask())
    assert limits.arbiter.alone
    unheard.settle(USED, COST)
    wire.cut()
    wire.mend()
    await until_back(limits, party)
    await settled(limits)
    counter = await redis.hgetall(party.counter(limit))
    assert (counter[b"spent"], counter[b"reserved"]) == (b"100000", b"0")


async def test_what_redis_never_heard_of_is_left_to_the_sweep(wire: Wire, wired: RedisLink) -> None:
    limit = budget("0.0001")  # two calls
    party = Party(budgets=(limit,))
    limits = party.limits(wired, lease_seconds=0.1)
    wire.cut()
    (await limits.admit(party.ask())).settle(USED, COST)
    await limits.start()
    await until(lambda: limits.arbiter.left_to_sweep)
    await limits.admit(party.ask())
    with pytest.raises(BudgetExceeded):  # it still counts here
        await limits.admit(party.ask())
    await limits.stop()


async def test_a_long_call_keeps_its_slot_and_a_dead_gateways_is_free_again(
    link: RedisLink, connect_link: Connect
) -> None:
    party = Party(key=KeyLimits(concurrent_requests=1))
    long, other = party.limits(link, lease_seconds=0.3), party.limits(await connect_link())
    await long.start()
    grant = await long.admit(party.ask())
    await asyncio.sleep(0.7)
    with pytest.raises(TooManyConcurrent):
        await other.admit(party.ask())
    await long.arbiter.stop()  # no more renewals, as after kill -9
    await asyncio.sleep(0.5)
    await other.admit(party.ask())
    grant.release()


async def test_no_redis_at_all(redis_url: str) -> None:
    party = Party(plan=PlanLimits(requests_per_minute=3), budgets=(budget("0.0001"),))
    limits = party.limits(None)
    for grant in await let_in(limits, party, 5):
        grant.settle(USED, COST)
    await asyncio.sleep(0)
    with pytest.raises(BudgetExceeded):
        await limits.admit(party.ask())
    await limits.stop()


async def test_a_restarted_redis_is_taught_the_script_again(link: RedisLink, redis: Any) -> None:
    party = Party(plan=PlanLimits(requests_per_minute=3))
    limits = party.limits(link)
    await limits.admit(party.ask())
    await redis.script_flush()
    await limits.admit(party.ask())
    assert not limits.arbiter.decided_alone
