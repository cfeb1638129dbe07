"""A slow Redis is left alone, so that it holds up a few calls and not each of them."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

import pytest

from cacheproxy.redis_link import RedisAway, RedisLink, open_link
from tests.fakes.wire import Wire, wire_to_redis

BUDGET_SECONDS = 0.02
LATE_ALLOWED = 5


@pytest.fixture
async def wire(redis_url: str) -> AsyncIterator[Wire]:
    """Give a wire to the test's Redis."""
    wire, _ = wire_to_redis(redis_url)
    await wire.start()
    yield wire
    await wire.stop()


@pytest.fixture
async def hasty(wire: Wire, redis_url: str) -> AsyncIterator[RedisLink]:
    """Give a link as the gateway has it by default, at the end of the wire."""
    _, url = wire_to_redis(redis_url)
    link = open_link(url(wire), budget_seconds=BUDGET_SECONDS, late_allowed=LATE_ALLOWED)
    await link.connect()
    yield link
    await link.close()


async def waited(link: RedisLink) -> float:
    """Return how long a command took that Redis did not answer in time."""
    started_at = time.monotonic()
    with pytest.raises(RedisAway):
        await link.ask("GET", "k")
    return time.monotonic() - started_at


async def test_calls_go_on_within_20_ms(wire: Wire, hasty: RedisLink) -> None:
    """Of a thousand look-ups, one after the other, 99 % are told within 20 ms to do without; most of them at once."""
    await hasty.ask("PING")
    wire.late_seconds = 3
    seconds = [await waited(hasty) for _ in range(1000)]
    p99 = statistics.quantiles(seconds, n=100)[98]
    assert p99 < BUDGET_SECONDS
    assert statistics.median(seconds) < 0.001
    assert sum(second > BUDGET_SECONDS / 2 for second in seconds) <= LATE_ALLOWED
    assert hasty.breaker == (2, 1)


async def test_it_is_probed_until_it_is_quick_again(wire: Wire, hasty: RedisLink) -> None:
    wire.late_seconds = 0.05
    for _ in range(LATE_ALLOWED):
        await waited(hasty)
    assert hasty.breaker == (2, 1)
    await asyncio.sleep(0.5)
    assert hasty.breaker[0] > 0, "probes come too late as well"
    wire.late_seconds = 0
    async with asyncio.timeout(5):
        while hasty.breaker[0]:  # noqa: ASYNC110 - the link has no event for it
            await asyncio.sleep(0.01)
    assert await hasty.ask("GET", "k") is None
    assert hasty.breaker == (0, 1)


async def test_one_late_reply_in_between_says_nothing(wire: Wire, hasty: RedisLink) -> None:
    for _ in range(2 * LATE_ALLOWED):
        wire.late_seconds = 0.05
        await waited(hasty)
        wire.late_seconds = 0
        await asyncio.sleep(0.06)
        await hasty.ask("PING")
    assert hasty.breaker == (0, 0)


async def test_a_burst_that_is_late_counts_once(wire: Wire, hasty: RedisLink) -> None:
    """A thousand calls of one turn wait for one reply: Redis may only have stopped for breath."""
    wire.late_seconds = 0.05
    await asyncio.gather(*(waited(hasty) for _ in range(1000)))
    assert hasty.breaker == (0, 0)


async def test_without_a_connection_it_is_not_the_breakers_turn(wire: Wire, hasty: RedisLink) -> None:
    wire.cut()
    await asyncio.sleep(0.05)
    assert statistics.mean([await waited(hasty) for _ in range(50)]) < 0.001
    assert hasty.breaker == (0, 0)
