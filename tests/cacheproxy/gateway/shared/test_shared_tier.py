"""The tier that gateways share: cold starts, rotation of keys, and a cluster of which one node dies."""

import asyncio
import collections
import contextlib
import json
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec
import pytest
from redis.asyncio import Redis

from cacheproxy.gateway.config import GatewaySettings
from examples.child import free_port
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.shared.conftest import KEYS, ask, echo, said, with_redis
from tests.cacheproxy.gateway.world import Answer, Client, World, eventually, serving
from tests.fakes.redis_servers import RedisServer, cluster_url, servers, start_cluster
from tests.fakes.upstream import FakeUpstream, Received

BOTH_KEYS = f"{KEYS['old']},{KEYS['new']}"
QUESTIONS = 500
PER_SECOND = 1000
SECONDS = 2


def asked(upstream: FakeUpstream) -> collections.Counter[str]:
    """Return question → how often the upstream was asked it."""
    return collections.Counter(call.document["messages"][-1]["content"] for call in upstream.received)


async def test_a_cold_start_under_load_asks_the_upstream_once_for_each_question(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
) -> None:
    """All that two gateway processes had has expired, and 1,000 calls a second want it again."""
    processes = [GatewayProcess(gateway_settings, free_port()) for _ in range(2)]
    try:
        await asyncio.gather(*(process.start() for process in processes))
        clients = [Client(session, process.url, cast.acme.key) for process in processes]
        short = [clients[n % 2].chat(f"{n}", cache={"ttl": 2}) for n in range(QUESTIONS)]
        assert {given.status for given in await asyncio.gather(*short)} == {200}
        assert len(upstream.received) == QUESTIONS
        await asyncio.sleep(2.5)
        upstream.received.clear()
        answers = await _load(clients)
    finally:
        await asyncio.gather(*(process.kill() for process in processes))
    counts = asked(upstream)
    assert max(counts.values()) == 1
    assert sum(said(given) == "fwd=miss" for given in answers) == len(counts)
    assert len(counts) > 0.95 * QUESTIONS


async def slowly(call: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.3)
    await echo(call, writer)


@pytest.mark.parametrize(
    ("policy", "ttl_seconds", "load_seconds"),
    [({"early_refresh": 100}, 10, 4), ({"stale_while_revalidate_seconds": 60}, 2, 2)],
)
async def test_answers_that_expire_at_once_are_refreshed_and_no_call_waits(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
    policy: Mapping[str, Any],
    ttl_seconds: int,
    load_seconds: int,
) -> None:
    """Under 1,000 calls a second at two gateways the upstream is asked once for each, before their end or after it."""
    await world.sql.execute(
        "UPDATE cacheproxy_servedmodel SET cache = $1 WHERE name = 'qwen-small'",
        json.dumps({**policy, "ttl_jitter": 0}),
    )
    settings = msgspec.structs.replace(gateway_settings, max_background_calls=64)
    processes = [GatewayProcess(settings, free_port()) for _ in range(2)]
    try:
        await asyncio.gather(*(process.start() for process in processes))
        clients = [Client(session, process.url, cast.acme.key) for process in processes]
        upstream.then(*QUESTIONS * [slowly])
        short = [clients[n % 2].chat(f"{n}", cache={"ttl": ttl_seconds}) for n in range(QUESTIONS)]
        assert {given.status for given in await asyncio.gather(*short)} == {200}
        upstream.received.clear()
        expired = asyncio.create_task(asyncio.sleep(ttl_seconds))
        if "early_refresh" not in policy:
            await expired
        answers = await _load(clients, seconds=load_seconds, one_by_one=True)
        await expired
        answers += await _load(clients, seconds=1, one_by_one=True)
    finally:
        await asyncio.gather(*(process.kill() for process in processes))
    assert {said(given) for given in answers} == {"hit"}
    assert not [given for given in answers if "coalesced" in given.headers["cache-status"]]
    counts = asked(upstream)
    assert max(counts.values()) == 1
    assert len(counts) > 0.95 * QUESTIONS


async def _load(
    clients: Sequence[Client], *, seconds: int = SECONDS, one_by_one: bool = False
) -> list[Answer]:
    """Ask at a steady rate whether answers come or not, at random or in turn; every answer is the right one."""
    loop, calls = asyncio.get_running_loop(), []
    begun_at = loop.time()
    for number in range(PER_SECOND * seconds):
        await asyncio.sleep(max(0.0, begun_at + number / PER_SECOND - loop.time()))
        text = number % QUESTIONS if one_by_one else random.randrange(QUESTIONS)
        calls.append(asyncio.create_task(ask(random.choice(clients), f"{text}")))
    return await asyncio.gather(*calls)


@contextlib.asynccontextmanager
async def _gateways(
    settings: GatewaySettings, ports: Sequence[int], keys: Sequence[str]
) -> AsyncIterator[list[str]]:
    """Give two gateway processes with these encryption keys."""
    processes = [
        GatewayProcess(msgspec.structs.replace(settings, cache_encryption_keys=own), port)
        for own, port in zip(keys, ports, strict=True)
    ]
    try:
        await asyncio.gather(*(process.start() for process in processes))
        yield [process.url for process in processes]
    finally:
        await asyncio.gather(*(process.kill() for process in processes))


async def test_keys_are_rotated_while_both_gateways_serve(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    redis: Any,
) -> None:
    """In the documented order no answer is asked for twice; and once the old key is gone, its answers are."""
    ports = [free_port(), free_port()]
    rounds = [
        (BOTH_KEYS, KEYS["old"]),
        (BOTH_KEYS, f"{KEYS['new']},{KEYS['old']}"),
        (f"{KEYS['new']},{KEYS['old']}", f"{KEYS['new']},{KEYS['old']}"),
    ]
    known: list[str] = []
    for number, keys in enumerate(rounds):
        async with _gateways(gateway_settings, ports, keys) as urls:
            clients = [Client(session, url, cast.acme.key) for url in urls]
            for text in known:
                assert [said(await ask(client, text)) for client in clients] == ["hit", "hit"]
            for own, client in enumerate(clients):
                text = f"round {number}, gateway {own}"
                assert said(await ask(client, text)) == "fwd=miss"
                known.append(text)
            await eventually(lambda: _holds(redis, len(known)))
    assert max(asked(upstream).values()) == 1
    async with _gateways(gateway_settings, ports, (KEYS["new"], KEYS["new"])) as urls:
        client = Client(session, urls[1], cast.acme.key)
        assert said(await ask(client, known[0])) == "fwd=miss"
        assert said(await ask(client, known[-1])) == "hit"
    values = [await redis.get(name) async for name in redis.scan_iter("zerorate:answer:*")]
    assert not [value for value in values if b"You said" in value]


@pytest.fixture
def nodes() -> Iterator[list[RedisServer]]:
    """Give a cluster of three masters, the first with a replica."""
    with servers() as started:
        yield start_cluster(started, replicas=1)


@pytest.mark.parametrize("with_replica", [False, True])
async def test_a_cluster_loses_a_node_in_mid_load(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
    nodes: list[RedisServer],
    with_replica: bool,
) -> None:
    """Every call is answered, and rightly; the other nodes' answers stay, and the dead one's come back elsewhere."""
    await world.sql.execute(
        "UPDATE billing_plan SET requests_per_minute = 1000000, concurrent_requests = 500"
    )
    if not with_replica:
        nodes[3].kill()
    settings = with_redis(
        gateway_settings, cluster_url(nodes), memory_cache_bytes=0, redis_budget_seconds=0.2
    )
    questions = [f"{n}" for n in range(60)]
    async with serving(settings) as (_, one), serving(settings) as (_, other):
        clients = [Client(session, url, cast.acme.key) for url in (one, other)]
        await asyncio.gather(*(ask(client, text) for text in questions for client in clients))
        assert max(asked(upstream).values()) == 1, "single flight works over a cluster"
        counters = [node.client.dbsize() for node in nodes[:3]]
        assert min(counters) > 0
        under_load = asyncio.create_task(_keep_asking(clients, questions, seconds=3))
        await asyncio.sleep(1)
        nodes[0].kill()
        await under_load

        async def all_hit() -> bool:
            given = [await ask(client, text) for text in questions for client in clients]
            return all(said(answer) == "hit" for answer in given)

        if with_replica:
            await eventually(all_hit, within_seconds=15)
        answers = [await ask(client, text) for text in questions for client in clients]
    hits = sum(said(given) == "hit" for given in answers)
    assert hits == len(answers) if with_replica else 0.5 * len(answers) < hits < len(answers)


async def _keep_asking(clients: Sequence[Client], texts: Sequence[str], *, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    while loop.time() < ends_at:
        await asyncio.gather(*(ask(client, random.choice(texts)) for client in clients for _ in range(5)))


async def _holds(redis: Redis, count: int) -> bool:
    return len([name async for name in redis.scan_iter("zerorate:answer:*")]) >= count
