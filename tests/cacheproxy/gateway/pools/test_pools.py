"""Tenants of a pool share answers; nobody else does, and what a member ends or takes along is gone."""

import asyncio
from collections.abc import Mapping

import aiohttp
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.pools.conftest import Members, set_policy
from tests.cacheproxy.gateway.test_invalidation import text_of
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer

TAGS = {"x-zerorate-cache-tags": "doc-1"}
SHOWN = {"x-zerorate-show-key": "true"}

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}


async def gets(client: Client, headers: Mapping[str, str] | None = None, text: str = "Hi") -> bool:
    """Return whether the cache has an answer for this call; it has one afterwards."""
    given = await client.chat(text, headers)
    assert given.status == 200
    return "hit" in given.headers["cache-status"]


async def is_gone(client: Client, headers: Mapping[str, str] | None = None, text: str = "Hi") -> None:
    """Return once the cache had no answer for this call."""

    async def check() -> bool:
        return not await gets(client, headers, text)

    await eventually(check, within_seconds=1)


async def test_members_share_and_nobody_else_does(
    client: Client, partner: Client, stranger: Client, upstream: FakeUpstream
) -> None:
    mine = await client.chat()
    assert "fwd=miss; stored" in mine.headers["cache-status"]
    theirs = await partner.chat()
    assert theirs.headers["cache-status"] == "zerorate; hit; detail=exact"
    assert theirs.document["choices"] == mine.document["choices"]
    assert "fwd=miss; stored" in (await stranger.chat()).headers["cache-status"]
    assert "hit" in (await stranger.chat()).headers["cache-status"]
    assert len(upstream.received) == 2


async def test_another_process_shares_through_redis(
    client: Client,
    members: Members,
    upstream: FakeUpstream,
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
) -> None:
    await client.chat()
    async with serving(gateway_settings) as (_, url):
        assert "hit" in (await Client(session, url, members.partner.key).chat()).headers["cache-status"]
    assert len(upstream.received) == 1


async def test_a_hit_is_priced_by_the_plan_of_who_gets_it(client: Client, partner: Client) -> None:
    await client.chat()
    headers = (await partner.chat()).headers
    assert headers["x-zerorate-cost"] == "0.0000027 USD"
    assert headers["x-zerorate-saved"] == "0.0000108 USD"


@pytest.mark.parametrize(
    "headers",
    [{"x-zerorate-session": "s"}, {"x-portkey-cache-namespace": "n"}, {"cache-control": "no-store"}],
    ids=["session", "namespace", "no-store"],
)
async def test_what_a_call_keeps_to_itself_stays_with_its_tenant(
    client: Client, partner: Client, headers: dict[str, str]
) -> None:
    await client.chat(headers=headers)
    assert not await gets(partner, headers)
    await client.chat("Other", headers=headers)
    assert not await gets(partner, text="Other")


async def test_responses_stay_with_their_tenant(
    client: Client, partner: Client, upstream: FakeUpstream
) -> None:
    document = {"model": "qwen-small", "input": "Hi"}
    upstream.then(*[answer(RESPONSE)] * 2)
    await client.post("/v1/responses", document)
    assert "hit" in (await client.post("/v1/responses", document)).headers["cache-status"]
    assert "fwd=miss" in (await partner.post("/v1/responses", document)).headers["cache-status"]


@pytest.mark.parametrize("action", ["no_store", "mask"])
async def test_nothing_sensitive_gets_into_a_pool(
    client: Client, partner: Client, world: World, upstream: FakeUpstream, action: str
) -> None:
    await set_policy(world, sensitive={"detect": ["email"], "action": action})
    await asyncio.sleep(0.2)
    upstream.then(answer(chat_answer("write to ann@acme.example")))
    await client.chat("whom?")
    assert not await gets(partner, text="whom?")
    await client.chat("I am ann@acme.example")
    assert not await gets(partner, text="I am ann@acme.example")
    await client.chat("plain")
    assert await gets(partner, text="plain")


async def test_items_of_a_list_are_shared(client: Client, partner: Client, upstream: FakeUpstream) -> None:
    await client.post("/v1/embeddings", {"model": "embedder", "input": ["one", "two"]})
    given = await partner.post("/v1/embeddings", {"model": "embedder", "input": ["two", "one"]})
    assert given.headers["cache-status"] == "zerorate; hit; detail=exact"
    assert not {"age", "x-zerorate-source"} & given.headers.keys()
    given = await partner.post("/v1/embeddings", {"model": "embedder", "input": ["one", "three"]})
    assert "hits-1-of-2" in given.headers["cache-status"]
    assert upstream.received[-1].document["input"] == ["three"]


async def test_who_leaves_neither_gives_nor_gets(
    client: Client, partner: Client, world: World, members: Members
) -> None:
    await client.chat("of acme")
    await partner.chat("of partner")
    assert await gets(partner, text="of acme")
    await world.leave(members.pool_id, members.partner)
    await is_gone(partner, text="of acme")
    await is_gone(client, text="of partner")
    await partner.chat("afterwards")
    assert not await gets(client, text="afterwards")
    await world.join(members.pool_id, members.partner)
    await asyncio.sleep(0.3)
    await client.chat("anew")
    assert await gets(partner, text="anew")


async def test_what_was_under_way_when_its_tenant_left_is_not_shared(
    client: Client, partner: Client, world: World, members: Members, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=0.5))
    slow = asyncio.create_task(partner.chat())
    await asyncio.sleep(0.2)
    await world.leave(members.pool_id, members.partner)
    await slow
    assert not await gets(client)


@pytest.mark.parametrize(
    ("place", "headers"),
    [({}, {}), ({"model": "qwen-small"}, {}), ({"tag": "doc-1"}, TAGS), ({"tag": "doc-1"}, {})],
    ids=["all", "model", "tag named", "tag of the answer"],
)
@pytest.mark.parametrize("whose", ["mine", "the other's", "everybody's"])
async def test_what_a_member_or_staff_ends_is_gone_for_all(
    client: Client,
    partner: Client,
    world: World,
    cast: Cast,
    members: Members,
    upstream: FakeUpstream,
    place: dict[str, str],
    headers: dict[str, str],
    whose: str,
) -> None:
    upstream.then(answer(chat_answer("old")), answer(chat_answer("new")))
    await client.chat(headers=TAGS)
    assert await gets(partner, headers)
    owner = {"mine": cast.acme.id, "the other's": members.partner.id, "everybody's": None}[whose]
    await world.invalidate(owner, **place)
    await is_gone(client, headers)
    await asyncio.sleep(0.1)
    assert await gets(partner, headers)
    assert text_of(await partner.chat(headers=headers)) == "new"


async def test_one_answer_ends_by_its_key_for_all(
    client: Client, partner: Client, world: World, members: Members
) -> None:
    key = (await client.chat(headers=SHOWN)).headers["x-zerorate-key"]
    assert (await partner.chat(headers=SHOWN)).headers["x-zerorate-key"] == key
    await world.invalidate(members.partner.id, key=key)
    await is_gone(client)
    fresh = (await partner.chat(headers=SHOWN)).headers["x-zerorate-key"]
    assert fresh == (await client.chat(headers=SHOWN)).headers["x-zerorate-key"] != key


@pytest.mark.parametrize("place", [{}, {"model": "qwen-small"}], ids=["all", "model"])
async def test_a_stranger_ends_nothing_of_a_pools(
    client: Client, partner: Client, world: World, cast: Cast, place: dict[str, str]
) -> None:
    await client.chat()
    await world.invalidate(cast.stranger.id, **place)
    await asyncio.sleep(0.2)
    assert await gets(partner)


async def test_a_session_that_is_ended_leaves_the_pool_alone(
    client: Client, partner: Client, world: World, cast: Cast
) -> None:
    await client.chat()
    await world.invalidate(cast.acme.id, session="s")
    await asyncio.sleep(0.2)
    assert await gets(partner)
