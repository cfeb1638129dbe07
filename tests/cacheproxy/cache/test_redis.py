"""The Redis tier: shared, expiring, and never in the way."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.at_rest import AtRest
from cacheproxy.cache.codec import AnswerCodec
from cacheproxy.cache.redis import RedisCache, answer_name
from cacheproxy.cache.sealing import Keyring
from cacheproxy.redis_link import RedisLink, open_link
from tests.cacheproxy.cache.conftest import NOW_MS, make_codec
from tests.cacheproxy.conftest import Connect
from tests.fakes.wire import Wire, wire_to_redis

Make = Callable[..., StoredAnswer]


@pytest.fixture
async def slow(redis_url: str) -> AsyncIterator[Wire]:
    """Give a wire to the test's Redis, to be made slow."""
    wire, _ = wire_to_redis(redis_url)
    await wire.start()
    yield wire
    await wire.stop()


@pytest.fixture
async def hasty(slow: Wire, redis_url: str, connect_link: Connect) -> RedisCache:
    """Give the tier at the end of the wire, without much patience."""
    _, url = wire_to_redis(redis_url)
    return RedisCache(await connect_link(url(slow), budget_seconds=0.2), make_codec())


@pytest.fixture
def cache(link: RedisLink) -> RedisCache:
    """Give the tier, with patience for a busy machine."""
    return RedisCache(link, make_codec())


async def test_what_was_put_is_got_by_anyone(
    cache: RedisCache, connect_link: Connect, make_answer: Make
) -> None:
    answer = make_answer(b"\x00\xff")
    assert await cache.put(b"k", answer, NOW_MS)
    assert await RedisCache(await connect_link(), make_codec()).get(b"k", NOW_MS) == answer


async def test_it_expires_with_the_answer(cache: RedisCache, redis: Any, make_answer: Make) -> None:
    await cache.put(b"k", make_answer(lifetime_ms=5_000), NOW_MS)
    assert 4_000 < await redis.pttl(answer_name(b"k")) <= 5_000
    assert await cache.get(b"k", NOW_MS + 5_000) is None


async def test_it_is_kept_for_as_long_as_it_may_stand_in(
    cache: RedisCache, redis: Any, make_answer: Make
) -> None:
    answer = make_answer(lifetime_ms=5_000, stale_ms=60_000)
    await cache.put(b"k", answer, NOW_MS)
    assert 60_000 < await redis.pttl(answer_name(b"k")) <= 65_000
    assert await cache.get(b"k", NOW_MS + 5_000) is None
    assert await cache.get_stale(b"k", NOW_MS + 5_000, 60) == answer
    assert await cache.get_stale(b"k", NOW_MS + 5_000, 0) is None
    assert await cache.get_stale(b"k", NOW_MS + 65_000, 3600) is None


async def test_an_answer_in_an_older_layout_is_a_miss_and_no_damage(cache: RedisCache, redis: Any) -> None:
    await redis.set(answer_name(b"k"), b"zra1" + bytes(200))
    assert await cache.get(b"k", NOW_MS) is None
    assert (cache.codec.damaged, cache.failures) == (0, 0)


async def test_what_is_too_large_is_not_stored(link: RedisLink, redis: Any, make_answer: Make) -> None:
    cache = RedisCache(link, AnswerCodec(AtRest(), max_answer_bytes=10))
    assert not await cache.put(b"k", make_answer(bytes(11)), NOW_MS)
    assert not await redis.keys()
    assert cache.failures == 0


async def test_with_keys_nothing_readable_is_in_redis(link: RedisLink, redis: Any, make_answer: Make) -> None:
    secret = b"Paris is the capital of France. "
    sealed = RedisCache(link, AnswerCodec(AtRest(keyring=Keyring({b"1": bytes(32)}))))
    for key, body in ((b"small", secret), (b"large", secret * 5_000)):
        answer = make_answer(body)
        assert await sealed.put(key, answer, NOW_MS)
        assert await sealed.get(key, NOW_MS) == answer
    kept = b"".join([await redis.get(name) for name in await redis.keys()])
    assert len(kept) > 200
    assert b"Paris" not in kept
    assert b"application/json" not in kept


async def test_sealed_answers_cannot_be_swapped(link: RedisLink, redis: Any, make_answer: Make) -> None:
    cache = RedisCache(link, AnswerCodec(AtRest(keyring=Keyring({b"1": bytes(32)}))))
    await cache.put(b"mine", make_answer(), NOW_MS)
    await redis.rename(answer_name(b"mine"), answer_name(b"yours"))
    assert await cache.get(b"yours", NOW_MS) is None
    assert cache.codec.damaged == 1


async def test_a_damaged_value_is_a_miss(cache: RedisCache, redis: Any, make_answer: Make) -> None:
    await cache.put(b"k", make_answer(), NOW_MS)
    await redis.setrange(answer_name(b"k"), 30, b"!")
    assert await cache.get(b"k", NOW_MS) is None
    assert (cache.codec.damaged, cache.failures) == (1, 0)


async def test_a_value_of_another_kind_is_a_miss(cache: RedisCache, redis: Any) -> None:
    await redis.rpush(answer_name(b"k"), "a list")
    assert await cache.get(b"k", NOW_MS) is None
    assert cache.failures == 1


async def test_redis_away_is_a_miss_counted_and_logged_once(
    make_answer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    link = open_link("redis://127.0.0.1:9/0", budget_seconds=0.5)
    cache = RedisCache(link, make_codec())
    await cache.connect()
    assert await cache.get(b"k", NOW_MS) is None
    assert not await cache.put(b"k", make_answer(), NOW_MS)
    assert cache.failures == 3
    assert caplog.text.count("Redis does not answer") == 1
    await link.close()


async def test_a_slow_redis_is_waited_for_no_longer_than_the_budget(slow: Wire, hasty: RedisCache) -> None:
    slow.late_seconds = 2
    started = time.monotonic()
    assert await hasty.get(b"k", NOW_MS) is None
    assert 0.2 <= time.monotonic() - started < 0.7


async def test_after_a_given_up_reply_the_next_one_is_its_own(
    cache: RedisCache, slow: Wire, hasty: RedisCache, make_answer: Make
) -> None:
    """A look-up that was given up must not leave its reply to the next one: that would be another's answer."""
    one, two = make_answer(b"one"), make_answer(b"two")
    await cache.put(b"1", one, NOW_MS)
    await cache.put(b"2", two, NOW_MS)
    assert await hasty.get(b"1", NOW_MS) == one
    for _ in range(3):
        slow.late_seconds = 0.3
        assert await hasty.get(b"1", NOW_MS) is None
        slow.late_seconds = 0
        assert await hasty.get(b"2", NOW_MS) == two
