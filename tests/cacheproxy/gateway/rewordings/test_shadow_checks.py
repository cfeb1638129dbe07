"""Hits that are checked: the upstream is really asked, nobody is billed, and a wrong one is named to be credited."""

import asyncio
from typing import Any

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.recording.wrong_hits import WRONG_HITS
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, Draw, Semantic, checks, remembered
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, chat_events, drop, stream

OTHER = "That costs 12 euros."


@pytest.fixture(autouse=True)
def always(draw: Draw) -> None:
    """Have every hit checked."""
    draw.checks = True


async def checked(gateway: tuple[Gateway, str], **results: int) -> None:
    async def are_done() -> bool:
        return checks(gateway) == results

    await eventually(are_done, within_seconds=5)


async def wrong_hits(world: World, count: int) -> list[Any]:
    async def are_written() -> Any:
        rows = await world.sql.fetch("SELECT * FROM metering_wronghit ORDER BY event_id")
        return rows if len(rows) >= count else None

    rows: list[Any] = await eventually(are_written, within_seconds=5)
    return rows


async def test_a_hit_that_the_upstream_bears_out(
    client: Client, world: World, upstream: FakeUpstream, gateway: tuple[Gateway, str]
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    hit = await client.chat(REWORDED, temperature=None)
    assert hit.headers["cache-status"] == "zerorate; fwd=miss; stored"  # null is a field of its own
    await remembered(world, 2)
    hit = await client.chat(REWORDED)
    assert hit.headers["cache-status"].endswith("detail=semantic")
    await checked(gateway, same=1)
    assert upstream.received[-1].document["messages"] == [{"role": "user", "content": REWORDED}]
    assert [event["outcome"] for event in await world.events()] == ["miss", "miss", "semantic"]
    assert not await world.sql.fetch("SELECT * FROM metering_wronghit")
    await remembered(world, 2)


async def test_a_wrong_hit_is_named_once_for_everybody_who_got_it_and_never_again(
    client: Client, cast: Cast, world: World, upstream: FakeUpstream, gateway: tuple[Gateway, str]
) -> None:
    miss = await client.chat(ASKED)
    await remembered(world)
    upstream.then(answer(chat_answer(OTHER), delay_seconds=0.05))
    answers = await asyncio.gather(*(client.chat(REWORDED) for _ in range(3)))
    ids = sorted(given.headers["x-request-id"] for given in answers)
    assert all(given.headers["cache-status"].endswith("detail=semantic") for given in answers)
    rows = await wrong_hits(world, 3)
    assert [str(row["event_id"]) for row in rows] == ids
    for row in rows:
        assert row["tenant_id"] == cast.acme.id
        assert row["model"] == "qwen-small"
        assert str(row["source_event"]) == miss.headers["x-request-id"]
        assert 0.9 < row["similarity"] < 1
        assert row["score"] == pytest.approx(0.995)
        assert row["reason"]
    await checked(gateway, wrong=1)
    await remembered(world, 0)
    assert (await client.chat(ASKED)).headers["cache-status"].endswith("detail=exact")
    assert (await client.chat(REWORDED)).headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_a_streamed_hit_is_checked_as_a_stream(
    client: Client, world: World, upstream: FakeUpstream, gateway: tuple[Gateway, str]
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    upstream.then(stream(*chat_events(["That costs ", "12 euros."])))
    await client.chat(REWORDED, stream=True)
    assert len(await wrong_hits(world, 1)) == 1
    await checked(gateway, wrong=1)


async def test_a_check_that_fails_proves_nothing(
    client: Client, world: World, upstream: FakeUpstream, gateway: tuple[Gateway, str]
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    upstream.then(answer({"error": {"message": "no"}}, status=500), drop(), answer(chat_answer(usage=None)))
    for _ in "ab":
        await client.chat(REWORDED)
    await checked(gateway, unknown=2)
    await client.chat(REWORDED)
    await checked(gateway, unknown=2, same=1)
    assert not await world.sql.fetch("SELECT * FROM metering_wronghit")


async def test_only_if_cached_is_never_checked(
    client: Client, world: World, upstream: FakeUpstream, gateway: tuple[Gateway, str]
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    await client.chat(REWORDED, headers={"cache-control": "only-if-cached"})
    await asyncio.sleep(0.1)
    assert len(upstream.received) == 1
    assert checks(gateway) == {}


async def test_a_busy_upstream_is_not_asked(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    semantic: Semantic,
) -> None:
    none = msgspec.structs.replace(gateway_settings, max_background_calls=0)
    async with serving(none, open_tier=semantic.open) as served:
        client = Client(session, served[1], cast.acme.key)
        await client.chat(ASKED)
        await remembered(world)
        await client.chat(REWORDED)
        await checked(served, dropped=1)
        assert len(upstream.received) == 1


async def test_a_shutdown_ends_checks_under_way(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    semantic: Semantic,
) -> None:
    async with serving(gateway_settings, open_tier=semantic.open) as (_, url):
        client = Client(session, url, cast.acme.key)
        await client.chat(ASKED)
        await remembered(world)
        upstream.then(answer(chat_answer(OTHER), delay_seconds=0.3))
        await client.chat(REWORDED)
    assert len(await wrong_hits(world, 1)) == 1


async def test_wrong_hits_wait_for_postgresql(
    wires: Wires,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    semantic: Semantic,
    redis: Any,
) -> None:
    async with serving(wires.gateway_settings, open_tier=semantic.open) as served:
        client = Client(session, served[1], cast.acme.key)
        await client.chat(ASKED)
        await remembered(world)
        upstream.then(answer(chat_answer(OTHER), delay_seconds=0.2))
        await client.chat(REWORDED)
        wires.postgres.cut()
        await checked(served, wrong=1)
        await eventually(lambda: redis.xlen(WRONG_HITS.stream))
        wires.postgres.mend()
        assert len(await wrong_hits(world, 1)) == 1
