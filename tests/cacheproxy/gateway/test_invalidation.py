"""Answers that were invalidated: nobody gets them any more, whatever they were selected by."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from cacheproxy.cache.redis import answer_name
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.world import Answer, Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, chat_events, drop, stream

SESSION = {"x-zerorate-session": "s1"}
TAGS = {"x-zerorate-cache-tags": "doc-1, doc-2"}
SHOWN = {"x-zerorate-show-key": "true"}
CACHED = {"cache-control": "only-if-cached"}


def text_of(given: Answer) -> str:
    """Return the words of an answer."""
    text: str = given.document["choices"][0]["message"]["content"]
    return text


async def is_kept(client: Client, headers: Mapping[str, str] | None = None, text: str = "Hi") -> bool:
    """Return whether the cache has an answer for this call."""
    given = await client.chat(text, {**CACHED, **(headers or {})})
    assert given.status in {200, 504}
    return given.status == 200


async def is_gone(
    client: Client, headers: Mapping[str, str] | None = None, *, within_seconds: float = 1
) -> None:
    """Return once the cache has no answer for this call."""

    async def check() -> bool:
        return not await is_kept(client, headers)

    await eventually(check, within_seconds=within_seconds)


@pytest.mark.parametrize(
    ("place", "headers"),
    [
        ({}, {}),
        ({"model": "qwen-small"}, {}),
        ({"model": "qwen-small", "version": "1"}, {}),
        ({"session": "s1"}, SESSION),
        ({"session": "s1", "model": "qwen-small"}, SESSION),
        ({"tag": "doc-2"}, TAGS),
        ({"tag": "doc-1", "model": "qwen-small"}, TAGS),
    ],
    ids=str,
)
async def test_a_tenants_answers_end(
    client: Client,
    stranger: Client,
    world: World,
    cast: Cast,
    place: dict[str, str],
    headers: dict[str, str],
) -> None:
    for caller in (client, stranger):
        await caller.chat(headers=headers)
        assert await is_kept(caller, headers)
    await world.invalidate(cast.acme.id, **place)
    await is_gone(client, headers)
    assert await is_kept(stranger, headers)
    again = await client.chat(headers=headers)
    assert "fwd=miss; stored" in again.headers["cache-status"]
    assert await is_kept(client, headers)


@pytest.mark.parametrize(
    "place",
    [
        {"model": "embedder"},
        {"model": "qwen-small", "version": "2"},
        {"session": "s1"},
        {"tag": "doc-1"},
        {"key": f"k1:{'0' * 64}"},
    ],
    ids=str,
)
async def test_what_is_not_selected_stays(
    client: Client, world: World, cast: Cast, place: dict[str, str]
) -> None:
    await client.chat()
    await world.invalidate(cast.acme.id, **place)
    await asyncio.sleep(0.2)
    assert await is_kept(client)


@pytest.mark.parametrize("place", [{}, {"model": "qwen-small"}, {"tag": "doc-1"}], ids=str)
async def test_staff_end_everybodys(
    client: Client, stranger: Client, world: World, place: dict[str, str]
) -> None:
    for caller in (client, stranger):
        await caller.chat(headers=TAGS)
    await world.invalidate(None, **place)
    for caller in (client, stranger):
        await is_gone(caller, TAGS)


async def test_one_answer_ends_by_its_key_in_every_tier(client: Client, world: World, redis: Any) -> None:
    key = (await client.chat(headers=SHOWN)).headers["x-zerorate-key"]
    await client.chat("Other")
    hit = await client.chat(headers=SHOWN)
    assert "hit" in hit.headers["cache-status"]
    assert hit.headers["x-zerorate-key"] == key
    assert "x-zerorate-key" not in (await client.chat()).headers
    assert await redis.exists(answer_name(key.encode()))
    await world.invalidate(None, key=key)
    await is_gone(client)
    assert not await redis.exists(answer_name(key.encode()))
    assert await is_kept(client, text="Other")
    again = await client.chat(headers=SHOWN)
    assert "fwd=miss; stored" in again.headers["cache-status"]
    assert again.headers["x-zerorate-key"] != key


async def test_a_tenant_ends_an_answer_of_its_own_by_its_key(
    client: Client, world: World, cast: Cast
) -> None:
    key = (await client.chat(headers=SHOWN)).headers["x-zerorate-key"]
    await world.invalidate(cast.acme.id, key=key)
    await is_gone(client)
    await client.chat()
    assert await is_kept(client)


async def test_a_strangers_key_is_not_ended(client: Client, world: World, cast: Cast) -> None:
    key = (await client.chat(headers=SHOWN)).headers["x-zerorate-key"]
    await world.invalidate(cast.stranger.id, key=key)
    await asyncio.sleep(0.2)
    assert await is_kept(client)


async def test_tags_do_not_divide_the_cache(client: Client, world: World, cast: Cast) -> None:
    await client.chat(headers=TAGS)
    assert await is_kept(client)
    assert await is_kept(client, {"x-zerorate-cache-tags": "other"})
    await world.invalidate(cast.acme.id, tag="other")
    await is_gone(client, {"x-zerorate-cache-tags": "other"})
    assert await is_kept(client)


async def test_an_answer_ends_with_its_tags_for_those_who_do_not_name_them(
    client: Client,
    world: World,
    cast: Cast,
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
) -> None:
    await client.chat(headers=TAGS)
    await world.invalidate(cast.acme.id, tag="doc-2")
    await is_gone(client)
    async with serving(gateway_settings) as (_, url):  # which knows the answer from Redis alone
        assert not await is_kept(Client(session, url, cast.acme.key))


async def test_a_policys_tags_are_invalidated_too(client: Client, world: World) -> None:
    await world.sql.execute('UPDATE cacheproxy_servedmodel SET cache = \'{"tags": ["laws"]}\'')
    await asyncio.sleep(0.2)
    await client.chat()
    assert await is_kept(client)
    await world.invalidate(None, tag="laws")
    await is_gone(client)


async def test_a_new_version_serves_no_old_answer(client: Client, world: World) -> None:
    await client.chat()
    await world.sql.execute("UPDATE cacheproxy_servedmodel SET version = '2' WHERE name = 'qwen-small'")
    await is_gone(client)


async def test_an_answer_on_its_way_ends_as_well(
    client: Client, world: World, cast: Cast, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer("old"), delay_seconds=0.6), answer(chat_answer("new")))
    slow = asyncio.create_task(client.chat(headers=TAGS))
    await asyncio.sleep(0.2)
    await world.invalidate(cast.acme.id, tag="doc-1")
    await asyncio.sleep(0.2)
    fresh = await client.chat()
    assert text_of(fresh) == "new"
    assert text_of(await slow) == "old"
    assert text_of(await client.chat(headers=TAGS)) != "old"
    assert text_of(await client.chat()) != "old"


async def test_no_ended_answer_stands_in_for_a_failure(
    client: Client, world: World, cast: Cast, upstream: FakeUpstream
) -> None:
    await world.sql.execute("UPDATE cacheproxy_servedmodel SET cache = '{\"stale_if_error_seconds\": 60}'")
    await asyncio.sleep(0.2)
    await client.chat(headers=TAGS)
    await world.invalidate(cast.acme.id, tag="doc-1")
    await is_gone(client)
    upstream.then(*[drop()] * 3)
    assert (await client.chat()).status >= 500


async def test_items_of_a_batch_end_too(client: Client, world: World, cast: Cast) -> None:
    document = {"model": "embedder", "input": ["one", "two"]}
    await client.post("/v1/embeddings", document, TAGS)
    alone = {"model": "embedder", "input": "one"}
    assert "hit" in (await client.post("/v1/embeddings", alone)).headers["cache-status"]
    await world.invalidate(cast.acme.id, tag="doc-1")

    async def check() -> bool:
        return (await client.post("/v1/embeddings", alone, CACHED)).status == 504

    await eventually(check, within_seconds=1)


async def test_what_was_invalidated_while_nobody_heard_is_heeded_on_reconnecting(
    wires: Wires, cast: Cast, world: World, session: aiohttp.ClientSession
) -> None:
    async with serving(wires.gateway_settings) as (_, url):
        client = Client(session, url, cast.acme.key)
        await client.chat()
        wires.postgres.cut()
        await world.invalidate(cast.acme.id)
        assert await is_kept(client)
        wires.postgres.mend()
        await is_gone(client, within_seconds=5)


@pytest.mark.parametrize(
    "tags",
    ["a b", "x" * 129, ",".join(map(str, range(17))), "ümlaut"],
    ids=["space", "long", "many", "ascii"],
)
async def test_unfit_tags_are_refused(client: Client, tags: str) -> None:
    refused = await client.chat(headers={"x-zerorate-cache-tags": tags})
    assert (refused.status, refused.code) == (400, "invalid_header")


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "stream"])
async def test_another_process_does_not_join_a_call_from_before(
    client: Client,
    world: World,
    cast: Cast,
    upstream: FakeUpstream,
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    streams: bool,
) -> None:
    slow = stream(*chat_events(["old"]), pause_seconds=0.3)
    upstream.then(slow if streams else answer(chat_answer("old"), delay_seconds=1))
    async with serving(gateway_settings) as (_, url):
        first = asyncio.create_task(client.chat(headers=TAGS, stream=streams))
        await asyncio.sleep(0.3)
        await world.invalidate(cast.acme.id, tag="doc-1")
        await asyncio.sleep(0.1)
        upstream.then(stream(*chat_events(["new"])) if streams else answer(chat_answer("new")))
        second = await Client(session, url, cast.acme.key).chat(stream=streams)
        assert not first.done()
        assert "fwd=miss" in second.headers["cache-status"]
        assert b"new" in second.body
        assert b"old" in (await first).body
