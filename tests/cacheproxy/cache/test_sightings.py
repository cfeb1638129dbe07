import secrets
from typing import Any

from cacheproxy.cache.sightings import BITS_PER_KEY, TURN_SECONDS, Sightings
from cacheproxy.redis_link import RedisLink

NOW_MS = 1_800_000_000_000


def key() -> bytes:
    return b"k1:" + secrets.token_hex(32).encode()


async def test_the_second_sight_is_one() -> None:
    seen, one = Sightings(None), key()
    assert [
        await seen.again(one, NOW_MS),
        await seen.again(one, NOW_MS),
        await seen.again(key(), NOW_MS),
    ] == [
        False,
        True,
        False,
    ]


async def test_of_many_keys_those_seen_are_told() -> None:
    seen, one, other = Sightings(None), key(), key()
    await seen.again(one, NOW_MS)
    assert await seen.among([one, other], NOW_MS) == {one}
    assert await seen.among([one, other], NOW_MS) == {one, other}


async def test_old_sights_fade_and_strangers_are_seldom_taken_for_seen() -> None:
    keys = 2000
    seen, first = Sightings(None, local_bits=keys * BITS_PER_KEY), key()
    await seen.again(first, NOW_MS)
    mistaken = sum([await seen.again(key(), NOW_MS) for _ in range(keys)])
    assert mistaken < keys // 50
    assert await seen.again(first, NOW_MS)  # of the filter before
    for _ in range(3 * keys):
        await seen.again(key(), NOW_MS)
    assert not await seen.again(first, NOW_MS)


async def test_gateways_share_their_sights_for_an_hour_or_two(link: RedisLink, redis: Any) -> None:
    one = key()
    await Sightings(link).again(one, NOW_MS)
    assert await Sightings(link).again(one, NOW_MS)
    assert await Sightings(link).again(one, NOW_MS + 1000 * TURN_SECONDS)
    other = key()
    await Sightings(link).again(other, NOW_MS)
    assert not await Sightings(link).again(other, NOW_MS + 2000 * TURN_SECONDS)
    names = [name async for name in redis.scan_iter()]
    assert names
    assert all([0 < await redis.ttl(name) <= 2 * TURN_SECONDS for name in names])


async def test_without_redis_each_gateway_sees_for_itself(link: RedisLink) -> None:
    await link.close()
    one, seen = key(), Sightings(link)
    assert [await seen.again(one, NOW_MS), await seen.again(one, NOW_MS)] == [False, True]
