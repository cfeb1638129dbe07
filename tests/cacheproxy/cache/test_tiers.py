"""The tiers together: found further away, kept nearer; expiring one by one."""

from bisect import bisect_right
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.memory import MemoryCache
from cacheproxy.cache.redis import RedisCache
from cacheproxy.cache.tiers import Tiers, expiry_ms
from cacheproxy.policy import CachePolicy
from cacheproxy.redis_link import RedisLink
from tests.cacheproxy.cache.conftest import NOW_MS, make_codec

Make = Callable[..., StoredAnswer]


@pytest.fixture
def shared(link: RedisLink) -> RedisCache:
    """Give the shared tier."""
    return RedisCache(link, make_codec())


async def test_an_answer_found_in_redis_is_kept_in_memory(shared: RedisCache, make_answer: Make) -> None:
    there = Tiers(MemoryCache(10_000), shared)
    answer = make_answer()
    assert await shared.put(b"k", answer, NOW_MS)
    assert there.memory.get(b"k", NOW_MS) is None
    assert await there.fetch(b"k", NOW_MS) == answer
    assert there.memory.get(b"k", NOW_MS) == answer


async def test_without_redis_memory_is_all_there_is(make_answer: Make) -> None:
    tiers = Tiers(MemoryCache(10_000), None)
    assert tiers.memory.put(b"k", make_answer())
    assert await tiers.fetch(b"k", NOW_MS) is None


async def test_what_is_too_large_for_memory_is_given_from_redis(
    shared: RedisCache, make_answer: Make
) -> None:
    tiers = Tiers(MemoryCache(10), shared)
    await shared.put(b"k", make_answer(), NOW_MS)
    for _ in range(2):
        assert await tiers.fetch(b"k", NOW_MS) is not None


async def test_the_youngest_of_all_tiers_stands_in(shared: RedisCache, make_answer: Make) -> None:
    tiers = Tiers(MemoryCache(10_000), shared)
    old = make_answer(b"old", lifetime_ms=1_000, stale_ms=60_000)
    young = msgspec.structs.replace(old, body=b"young", stored_at_ms=NOW_MS + 500)
    assert await tiers.get_stale(b"k", NOW_MS + 2_000, 60) is None
    tiers.memory.put(b"k", old)
    assert await tiers.get_stale(b"k", NOW_MS + 2_000, 60) == old
    await shared.put(b"k", young, NOW_MS)
    assert await tiers.get_stale(b"k", NOW_MS + 2_000, 60) == young
    assert await Tiers(MemoryCache(10_000), None).get_stale(b"k", NOW_MS, 60) is None


@given(st.integers(1, 10**7), st.floats(0, 0.99))
def test_no_answer_outlives_its_policy(ttl_seconds: int, jitter: float) -> None:
    lifetime_ms = expiry_ms(NOW_MS, ttl_seconds, jitter) - NOW_MS
    assert ttl_seconds * 1000 * (1 - jitter) - 1 <= lifetime_ms <= ttl_seconds * 1000


def test_answers_stored_together_expire_apart() -> None:
    """By default no hundredth of the time to live sees more than a twentieth of what was stored together expire."""
    ttl_ms, count = 3_600_000, 20_000
    jitter = CachePolicy().ttl_jitter
    ends = sorted(expiry_ms(NOW_MS, ttl_ms // 1000, jitter) for _ in range(count))
    most = max(bisect_right(ends, end + ttl_ms // 100) - first for first, end in enumerate(ends))
    assert most <= 0.05 * count
