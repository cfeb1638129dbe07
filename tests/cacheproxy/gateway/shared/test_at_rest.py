"""Where there are keys, nothing that customers wrote or were told can be read in Redis."""

from typing import Any

import aiohttp
import msgspec
import pytest
from redis.asyncio import Redis

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.shared.conftest import KEYS, ask
from tests.cacheproxy.gateway.world import Client, eventually, serving
from tests.fakes.upstream import FakeUpstream, chat_events, stream

SECRET = "the launch code is 4711-0815"
IDEMPOTENT = {"idempotency-key": "order 66"}
UNCACHED = {**IDEMPOTENT, "cache-control": "no-store"}


async def everything(redis: Redis) -> bytes:
    """Return all that is in Redis: names, values, fields."""
    found = []
    async for name in redis.scan_iter():
        kind = await redis.type(name)
        if kind == b"string":
            value: Any = await redis.get(name)
        elif kind == b"hash":
            value = await redis.hgetall(name)
        elif kind == b"stream":
            value = await redis.xrange(name)
        else:
            raise AssertionError(f"{name!r} is a {kind!r}, which nobody looks into here")
        found.append(name + repr(value).encode())
    return b"\n".join(found)


@pytest.fixture
def sealing(gateway_settings: GatewaySettings) -> GatewaySettings:
    return msgspec.structs.replace(gateway_settings, cache_encryption_keys=KEYS["old"])


@pytest.mark.parametrize("padding", ["", " and so on" * 10_000])
async def test_no_plaintext(
    sealing: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    redis: Redis,
    padding: str,
) -> None:
    """Plain answers, streams and answers to idempotent calls, small and large: read back, and not there to be read."""
    text = SECRET + padding
    async with serving(sealing) as (_, url):
        client = Client(session, url, cast.acme.key)
        await ask(client, text)
        first, again = await client.chat(text, UNCACHED), await client.chat(text, UNCACHED)
        upstream.then(stream(*chat_events([SECRET, padding])))
        await client.chat("Say it.", stream=True)
        await eventually(lambda: _has(redis, b"zerorate:answer:", 2))
    assert again.headers["idempotent-replayed"] == "true"
    assert again.body == first.body
    kept = await everything(redis)
    assert b"once:" in kept
    assert len(kept) > 500
    for part in (b"launch", b"You said", b"4711-0815", b"and so on", b"application/json"):
        assert part not in kept


async def _has(redis: Redis, prefix: bytes, count: int) -> bool:
    return len([name async for name in redis.scan_iter(prefix + b"*")]) >= count


async def test_an_idempotent_answer_that_cannot_be_read_is_not_asked_for_again(
    sealing: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
) -> None:
    """Its key was taken out too early: the call is refused, for it was carried out and is charged."""
    async with serving(sealing) as (_, url):
        await Client(session, url, cast.acme.key).chat("Hi", UNCACHED)
    other = msgspec.structs.replace(sealing, cache_encryption_keys=KEYS["new"])
    async with serving(other) as (_, url):
        refused = await Client(session, url, cast.acme.key).chat("Hi", UNCACHED)
    assert (refused.status, refused.code) == (409, "idempotent_answer_not_kept")
    assert len(upstream.received) == 1
