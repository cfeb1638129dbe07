"""The Redis tier: shared, expiring, and never in the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.redis import KEY_PREFIX, RedisCache, open_redis
from tests.cacheproxy.cache.conftest import NOW_MS

Make = Callable[..., StoredAnswer]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    """Give a client of the test's Redis."""
    client = open_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def cache(client: Any) -> RedisCache:
    """Give the tier, with patience for a busy machine."""
    return RedisCache(client, budget_seconds=2.0)


async def test_what_was_put_is_got_by_anyone(cache: RedisCache, redis_url: str, make_answer: Make) -> None:
    answer = make_answer(b"\x00\xff")
    assert await cache.put(b"k", answer, NOW_MS)
    other = open_redis(redis_url)
    assert await RedisCache(other, budget_seconds=2.0).get(b"k", NOW_MS) == answer
    await other.aclose()


async def test_it_expires_with_the_answer(cache: RedisCache, client: Any, make_answer: Make) -> None:
    await cache.put(b"k", make_answer(lifetime_ms=5_000), NOW_MS)
    assert 4_000 < await client.pttl(KEY_PREFIX + b"k") <= 5_000
    assert await cache.get(b"k", NOW_MS + 5_000) is None


async def test_a_damaged_value_is_a_miss(cache: RedisCache, client: Any, make_answer: Make) -> None:
    await cache.put(b"k", make_answer(), NOW_MS)
    await client.setrange(KEY_PREFIX + b"k", 30, b"!")
    assert await cache.get(b"k", NOW_MS) is None
    assert (cache.damaged, cache.failures) == (1, 0)


async def test_a_value_of_another_kind_is_a_miss(cache: RedisCache, client: Any) -> None:
    await client.rpush(KEY_PREFIX + b"k", "a list")
    assert await cache.get(b"k", NOW_MS) is None
    assert cache.failures == 1


async def test_redis_away_is_a_miss_counted_and_logged_once(
    make_answer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    client = open_redis("redis://127.0.0.1:9/0")
    cache = RedisCache(client, budget_seconds=0.5)
    assert await cache.get(b"k", NOW_MS) is None
    assert not await cache.put(b"k", make_answer(), NOW_MS)
    assert cache.failures == 2
    assert caplog.text.count("Redis does not answer") == 1
    await client.aclose()


async def test_a_slow_redis_is_waited_for_no_longer_than_the_budget(make_answer: Make) -> None:
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(5), "127.0.0.1", 0)
    client = open_redis(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0")
    cache = RedisCache(client, budget_seconds=0.02)
    started = time.monotonic()
    assert await cache.get(b"k", NOW_MS) is None
    assert time.monotonic() - started < 0.3
    silent.close()
    await client.aclose()


async def test_after_a_given_up_reply_the_next_one_is_its_own(cache: RedisCache, client: Any, make_answer: Make) -> None:
    """A look-up that was given up must not leave its reply to the next one: that would be another's answer."""
    one, two = make_answer(b"one"), make_answer(b"two")
    await cache.put(b"1", one, NOW_MS)
    await cache.put(b"2", two, NOW_MS)
    hasty = RedisCache(client, budget_seconds=0.0)
    for budget in range(200):
        hasty._budget_seconds = budget / 400_000
        await hasty.get(b"1", NOW_MS)
        assert await cache.get(b"2", NOW_MS) == two
    assert hasty.failures > 0


