"""Redis slow, down, full, evicting and lying: calls go on as misses, nothing that is wrong is given, all is counted."""

import asyncio
import os
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import msgspec
import pytest
from redis.asyncio import Redis

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.shared.conftest import KEYS, ask, said, with_redis
from tests.cacheproxy.gateway.test_metrics import of
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.redis_servers import RedisServer, servers
from tests.fakes.upstream import FakeUpstream

ROOM_BYTES = 600_000


async def test_slow(
    wires: Wires, cast: Cast, session: aiohttp.ClientSession, world: World, upstream: FakeUpstream
) -> None:
    """Limits, look-up and store all wait for Redis: a hundred calls together are held up for a few budgets."""
    await world.sql.execute("UPDATE billing_plan SET requests_per_minute = 100000")
    settings = msgspec.structs.replace(
        wires.gateway_settings, redis_budget_seconds=0.02, database_timeout_seconds=2.0
    )
    async with serving(settings) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        await ask(client, "before")
        wires.redis.late_seconds = 2
        started_at = time.monotonic()
        for number in range(100):
            assert said(await ask(client, f"{number}")) == "fwd=miss"
        assert time.monotonic() - started_at < 100 * 0.02 + 3, "not each of them waits"
        text = await gateway.exposition.text()
        assert of(text, "redis_breaker_openings_total") == 1
        assert of(text, "redis_failures_total") >= 100
        wires.redis.late_seconds = 0

        async def is_closed() -> bool:
            shown = await gateway.exposition.text()
            return of(shown, "redis_breaker_state", pid=str(os.getpid())) == 0

        await eventually(is_closed, within_seconds=10)
    assert {event["outcome"] for event in await world.events()} == {"miss"}


async def test_down(wires: Wires, cast: Cast, session: aiohttp.ClientSession, upstream: FakeUpstream) -> None:
    async with serving(wires.gateway_settings) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        await ask(client, "before")
        wires.redis.cut()
        for number in range(50):
            assert said(await ask(client, f"{number}")) == "fwd=miss"
        assert said(await ask(client, "before")) == "hit", "memory has it"
        assert of(await gateway.exposition.text(), "redis_failures_total") >= 50


@pytest.fixture
def small_redis() -> Iterator[RedisServer]:
    """Give a Redis with hardly any room; what happens then is for the test to say."""
    with servers() as started:
        server = started.start()
        server.client.config_set("maxmemory", server.client.info("memory")["used_memory"] + ROOM_BYTES)
        yield server


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru", "allkeys-random"])
async def test_full(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    small_redis: RedisServer,
    policy: str,
) -> None:
    """Whether Redis takes no more or lets others go, leases and counters among them: two gateways go on."""
    small_redis.client.config_set("maxmemory-policy", policy)
    settings = with_redis(gateway_settings, f"redis://127.0.0.1:{small_redis.port}/0", memory_cache_entries=8)
    texts = [random.randbytes(1500).hex() for _ in range(400)]
    async with serving(settings) as (gateway, one), serving(settings) as (_, other):
        clients = [Client(session, url, cast.acme.key) for url in (one, other)]
        for _ in range(3):
            asked = random.sample(texts, 200)
            await asyncio.gather(*(ask(random.choice(clients), text) for text in asked))
        failures = of(await gateway.exposition.text(), "redis_failures_total")
    evicted = small_redis.client.info("stats")["evicted_keys"]
    assert (failures > 0, evicted > 100) == (policy == "noeviction", policy != "noeviction")


def corrupted(value: bytes) -> bytes:
    return value[:60] + bytes([value[60] ^ 1]) + value[61:]


LIES: Mapping[str, Any] = {
    "corrupt bytes": corrupted,
    "cut short": lambda value: value[:40],
    "another's": None,
    "nonsense": lambda _: b"\x00" * 500,
    "a list": list,
    "from the future": lambda value: value[:8] + (2**62).to_bytes(8) * 3 + value[32:],
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("sealed", [False, True])
async def test_lying(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    redis: Any,
    lie: str,
    sealed: bool,
) -> None:
    """One upstream call by all gateways together puts the right answer in the lie's place."""
    settings = msgspec.structs.replace(
        gateway_settings, cache_encryption_keys=KEYS["old"] if sealed else "", memory_cache_bytes=0
    )
    async with serving(settings) as (gateway, one), serving(settings) as (_, other):
        clients = [Client(session, url, cast.acme.key) for url in (one, other)]
        await ask(clients[0], "mine")
        name = await eventually(lambda: _answers(redis))
        if lie == "another's":
            await ask(clients[0], "yours")
            both = await eventually(lambda: _answers(redis, 2))
            [yours] = set(both) - set(name)
            await redis.copy(yours, name[0], replace=True)
        elif lie == "a list":
            await redis.delete(name[0])
            await redis.rpush(name[0], "x")
        else:
            await redis.set(name[0], LIES[lie](await redis.get(name[0])))
        before = len(upstream.received)
        answers = await asyncio.gather(*(ask(client, "mine") for client in clients * 5))
        assert len(upstream.received) == before + 1
        assert sum(said(given) == "fwd=miss" for given in answers) == 1
        assert said(await ask(clients[1], "mine")) == "hit"
        shown = await gateway.exposition.text()
    unread = of(shown, "redis_damaged_answers_total") + of(shown, "redis_foreign_answers_total")
    assert unread <= 2


async def _answers(redis: Redis, count: int = 1) -> list[bytes]:
    names = [name async for name in redis.scan_iter("zerorate:answer:*")]
    return names if len(names) >= count else []


async def test_sealed_with_a_key_that_is_not_known_here(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    redis: Any,
) -> None:
    """Single flight does not take it for a fresh one: the gateways lead in its place, once."""
    one_key, other_key = (
        msgspec.structs.replace(gateway_settings, cache_encryption_keys=KEYS[name], memory_cache_bytes=0)
        for name in ("old", "new")
    )
    async with serving(one_key) as (_, url):
        await ask(Client(session, url, cast.acme.key), "mine")
        await eventually(lambda: _answers(redis))
    async with serving(other_key) as (gateway, one), serving(other_key) as (_, other):
        clients = [Client(session, url, cast.acme.key) for url in (one, other)]
        await asyncio.gather(*(ask(client, "mine") for client in clients * 5))
        assert len(upstream.received) == 2
        foreign = of(await gateway.exposition.text(), "redis_foreign_answers_total")
        assert said(await ask(clients[0], "mine")) == said(await ask(clients[1], "mine")) == "hit"
    assert foreign <= 2, "one look, and one at what it is before leading in its place"


async def test_what_memory_lets_go_and_misses_is_told(
    gateway_settings: GatewaySettings, cast: Cast, session: aiohttp.ClientSession, upstream: FakeUpstream
) -> None:
    settings = msgspec.structs.replace(
        gateway_settings, memory_cache_entries=2, memory_cache_policy="lru", redis_url=None
    )
    async with serving(settings) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        for text in ("a", "b", "c", "a"):
            await ask(client, text)
        shown = await gateway.exposition.text()
    assert of(shown, "memory_cache_departures_total", reason="entries") == 2
    assert of(shown, "memory_cache_misses_total", reason="never_seen") >= 3
    assert of(shown, "memory_cache_misses_total", reason="evicted") >= 1
