"""Several upstreams behind one model, and answers that stand in for a failure, seen by a client."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from cacheproxy.gateway.asgi import Gateway
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import (
    Behaviour,
    FakeUpstream,
    answer,
    chat_answer,
    chat_events,
    drop,
    html,
    stall,
    stream,
)

BUSY = answer({"error": {"message": "busy"}}, status=503, headers={"retry-after": "9"})
SET_CACHE = "UPDATE cacheproxy_servedmodel SET cache = $1 WHERE name = 'qwen-small'"
STALE = {"ttl_seconds": 1, "ttl_jitter": 0, "stale_if_error_seconds": 60}


@pytest.fixture
async def spare(world: World, gateway: tuple[Gateway, str]) -> AsyncIterator[FakeUpstream]:
    """Give a second server of the chat model, for when the first is not to be had."""
    server = FakeUpstream()
    await server.start()
    await world.add_target("qwen-small", "spare", f"{server.url}/v1", priority=1)
    await eventually(lambda: _has_targets(gateway[0], 2))
    yield server
    await server.stop()


async def _has_targets(gateway: Gateway, count: int) -> bool:
    return len(gateway._catalog.models["qwen-small"].targets) == count


async def test_an_upstream_that_refuses_for_now_costs_the_client_nothing(
    client: Client, upstream: FakeUpstream, spare: FakeUpstream, world: World
) -> None:
    upstream.then(BUSY)
    got = await client.chat()
    assert (got.status, got.document) == (200, chat_answer())
    assert len(spare.received) == 1
    (event,) = await world.events()
    assert (event["outcome"], event["status"]) == ("miss", 200)
    assert (await client.chat()).headers["cache-status"].startswith("zerorate; hit")


async def test_a_stream_fails_over_before_its_first_byte(
    client: Client, upstream: FakeUpstream, spare: FakeUpstream
) -> None:
    upstream.then(BUSY)
    assert (await client.chat(stream=True)).body.endswith(b"data: [DONE]\n\n")
    assert len(spare.received) == 1


async def test_a_stream_that_has_begun_is_asked_of_nobody_else(
    client: Client, upstream: FakeUpstream, spare: FakeUpstream, world: World
) -> None:
    await world.sql.execute("UPDATE cacheproxy_servedmodel SET retry = 'any'")
    await asyncio.sleep(0.2)
    upstream.then(stream(*chat_events()[:3], whole=False))
    broken = await client.chat(stream=True)
    assert broken.status == 200
    assert b"upstream_broken" in broken.body
    assert len(upstream.received) == 1
    assert spare.received == []


async def test_when_every_upstream_keeps_failing_the_client_is_told_when_to_come_back(
    client: Client, upstream: FakeUpstream, world: World, gateway: tuple[Gateway, str]
) -> None:
    await world.sql.execute("UPDATE cacheproxy_upstream SET breaker_failures = 2, breaker_open_seconds = 30")
    await asyncio.sleep(0.2)
    upstream.then(html(500), html(502))
    for number in range(2):
        await client.chat(f"call {number}")
    refused = await client.chat()

    assert (refused.status, refused.code) == (503, "upstream_unavailable")
    assert 28 <= int(refused.headers["retry-after"]) <= 30
    assert "x-should-retry" not in refused.headers
    assert len(upstream.received) == 2
    assert await world.events() == []
    assert gateway[0]._upstreams.states()["qwen-small-server"] == "open"


@pytest.mark.parametrize(
    ("behaviour", "status"), [(html(500), 500), (BUSY, 503), (drop(), None), (stall(), None)]
)
async def test_an_expired_answer_stands_in_for_a_failure(
    client: Client, upstream: FakeUpstream, world: World, behaviour: Behaviour, status: int | None
) -> None:
    await world.sql.execute(SET_CACHE, json.dumps(STALE))
    await world.sql.execute("UPDATE cacheproxy_upstream SET first_byte_timeout_seconds = 1")
    await asyncio.sleep(0.2)
    first = await client.chat()
    await asyncio.sleep(1.1)
    upstream.then(behaviour)
    got = await client.chat()

    assert (got.status, got.document) == (200, first.document)
    assert got.headers["cache-status"].startswith("zerorate; hit; fwd=stale; ")
    assert got.headers["cache-status"].endswith("detail=stale-if-error")
    assert "ttl=-" in got.headers["cache-status"]
    assert got.headers["x-zerorate-source"] == first.headers["x-request-id"]
    miss, hit = await world.events()
    assert (miss["outcome"], hit["outcome"]) == ("miss", "exact")
    assert json.loads(hit["raw_usage"])["stale_if_error"]["upstream_status"] == status
    assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_an_expired_answer_stands_in_while_every_breaker_is_open(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await world.sql.execute(SET_CACHE, json.dumps(STALE))
    await world.sql.execute("UPDATE cacheproxy_upstream SET breaker_failures = 1")
    await asyncio.sleep(0.2)
    await client.chat()
    upstream.then(drop())
    assert (await client.chat("other")).status == 502
    await asyncio.sleep(1.1)
    assert (await client.chat("third")).code == "upstream_unavailable"
    got = await client.chat()
    assert got.status == 200
    assert "detail=stale-if-error" in got.headers["cache-status"]
    assert len(upstream.received) == 2


async def test_without_a_policy_a_failure_is_a_failure(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await world.sql.execute(SET_CACHE, json.dumps({"ttl_seconds": 1, "ttl_jitter": 0}))
    await asyncio.sleep(0.2)
    await client.chat()
    await asyncio.sleep(1.1)
    upstream.then(html(500))
    assert (await client.chat()).status == 500
