"""A hit of another tenant's answer says that a member asked the same, and neither who nor when."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.pools.conftest import Members, set_policy
from tests.cacheproxy.gateway.world import Answer, Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, drop

TELLING = {"age", "x-zerorate-source"}


def tells_nothing(given: Answer) -> bool:
    """Return whether a hit's headers say nothing of when, or of whose."""
    status = given.headers["cache-status"]
    return "hit" in status and "ttl" not in status and not TELLING & given.headers.keys()


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "stream"])
async def test_hits_from_memory_and_redis(
    client: Client,
    partner: Client,
    members: Members,
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    streams: bool,
) -> None:
    await client.chat(stream=streams)
    assert tells_nothing(await partner.chat(stream=streams))
    assert tells_nothing(await client.chat(stream=streams))
    async with serving(gateway_settings) as (_, url):
        assert tells_nothing(await Client(session, url, members.partner.key).chat(stream=streams))


async def test_a_stale_answer(client: Client, partner: Client, world: World, upstream: FakeUpstream) -> None:
    await set_policy(world, ttl_seconds=1, ttl_jitter=0, stale_if_error_seconds=60)
    await asyncio.sleep(0.2)
    await client.chat()
    await asyncio.sleep(1)
    upstream.then(drop(), drop())
    given = await partner.chat()
    assert given.headers["cache-status"] == "zerorate; hit; fwd=stale; detail=stale-if-error"
    assert tells_nothing(given)


async def test_the_answer_has_another_id_and_no_instant(client: Client, partner: Client) -> None:
    mine, theirs = (await client.chat()).document, (await partner.chat()).document
    assert (mine["id"], bool(mine["created"])) == ("chatcmpl-1", True)
    assert theirs["id"] != mine["id"]
    assert theirs["id"].startswith("chatcmpl-")
    assert theirs["created"] == 0
    assert theirs["choices"] == mine["choices"]


async def test_the_scores_of_a_list_have_another_id(
    client: Client, partner: Client, upstream: FakeUpstream
) -> None:
    upstream.then(answer({"id": "rerank-1", "results": [{"index": 0, "relevance_score": 0.5}]}))
    document = {"model": "qwen-small", "query": "q", "documents": ["d"]}
    await client.post("/v1/rerank", document)
    given = await partner.post("/v1/rerank", document)
    assert tells_nothing(given)
    assert given.document["id"] != "rerank-1"


@pytest.mark.parametrize("control", ["max-age=86400", "min-fresh=1", "max-stale", "only-if-cached"])
async def test_nobody_finds_out_when_by_asking_for_young_ones_or_again_and_again(
    client: Client, partner: Client, control: str
) -> None:
    asking = {"cache-control": control}
    await client.chat()
    if control != "only-if-cached":
        await client.chat(headers=asking)
    assert "hit" not in (await partner.chat(headers=asking)).headers["cache-status"]
    assert "hit" in (await client.chat(headers=asking)).headers["cache-status"]


async def test_the_event_keeps_the_source_and_says_whose_it_is(
    client: Client, partner: Client, world: World
) -> None:
    await client.chat()
    await partner.chat()
    await client.chat()
    miss, theirs, mine = await world.events()
    assert miss["event_id"] == theirs["source_event"] == mine["source_event"]
    assert json.loads(theirs["raw_usage"]) == {"pool": "public"}
    assert mine["raw_usage"] is None


async def test_an_answer_that_is_refreshed_stays_another_tenants(
    client: Client, partner: Client, world: World, upstream: FakeUpstream
) -> None:
    await set_policy(world, ttl_seconds=1, ttl_jitter=0, stale_while_revalidate_seconds=60)
    await asyncio.sleep(0.2)
    await client.chat()
    await asyncio.sleep(1)
    stale = await partner.chat()
    assert stale.headers["cache-status"] == "zerorate; hit; detail=exact"
    await eventually(lambda: asked_twice(upstream))
    await asyncio.sleep(0.2)
    assert tells_nothing(await partner.chat())
    miss, *theirs = await world.events()
    assert len(theirs) == 2
    for event in theirs:
        assert event["source_event"] == miss["event_id"]
        assert json.loads(event["raw_usage"])["pool"] == "public"
    assert len(upstream.received) == 2


async def asked_twice(upstream: FakeUpstream) -> bool:
    return len(upstream.received) == 2


async def test_statistics_tell_no_age_and_no_fate(
    client: Client, partner: Client, gateway: tuple[Gateway, str], world: World
) -> None:
    await set_policy(world, ttl_seconds=1, ttl_jitter=0)
    await asyncio.sleep(0.2)
    await client.chat()
    await asyncio.sleep(0.5)
    await partner.chat()
    await asyncio.sleep(1)
    await partner.chat()
    exposed: Any = gateway[0]._tally.take()
    partners = {key.result: counts for key, counts in exposed.items() if counts[2] or key.result != "memory"}
    assert {result: counts[2] for result, counts in partners.items()} == {"never_seen": 0}


async def test_tenants_do_not_wait_for_each_others_calls(
    client: Client, partner: Client, upstream: FakeUpstream
) -> None:
    upstream.then(*[answer(chat_answer(), delay_seconds=0.4)] * 3)
    mine = [asyncio.create_task(client.chat()) for _ in range(3)]
    await asyncio.sleep(0.2)
    theirs = await partner.chat()
    assert "fwd=miss" in theirs.headers["cache-status"]
    shared = ["coalesced" in given.headers["cache-status"] for given in await asyncio.gather(*mine)]
    assert sorted(shared) == [False, True, True]
    assert len(upstream.received) == 2


async def test_nor_do_they_in_two_processes(
    client: Client,
    members: Members,
    upstream: FakeUpstream,
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
) -> None:
    upstream.then(*[answer(chat_answer(), delay_seconds=0.6)] * 2)
    async with serving(gateway_settings) as (_, url):
        mine = asyncio.create_task(client.chat())
        await asyncio.sleep(0.1)
        theirs = asyncio.create_task(Client(session, url, members.partner.key).chat())
        await asyncio.sleep(0.1)
        follower = await Client(session, url, client.key).chat()
        assert "coalesced" in follower.headers["cache-status"]
        assert tells_nothing(follower)
        assert "fwd=miss" in (await theirs).headers["cache-status"]
        assert "fwd=miss" in (await mine).headers["cache-status"]
    assert len(upstream.received) == 2


async def test_a_refusal_is_given_again_to_who_met_it(
    client: Client, partner: Client, world: World, upstream: FakeUpstream
) -> None:
    await set_policy(world, negative={})
    await asyncio.sleep(0.2)
    upstream.then(*[answer({"error": {"message": "no"}}, status=400)] * 2)
    await client.chat()
    assert "negative" in (await client.chat()).headers["cache-status"]
    assert "negative" not in (await partner.chat()).headers["cache-status"]
    assert len(upstream.received) == 2


async def test_the_second_sight_is_a_tenants_own(client: Client, partner: Client, world: World) -> None:
    await set_policy(world, admit_after=2)
    await asyncio.sleep(0.2)
    await client.chat()
    assert "stored" not in (await partner.chat()).headers["cache-status"]
    assert "stored" in (await partner.chat()).headers["cache-status"]
    assert "hit" in (await client.chat()).headers["cache-status"]


async def test_two_pools_of_the_same_members_have_nothing_in_common(
    client: Client, partner: Client, world: World, members: Members
) -> None:
    shown = {"x-zerorate-show-key": "true"}
    first = (await client.chat(headers=shown)).headers["x-zerorate-key"]
    await world.sql.execute("UPDATE cacheproxy_cachepool SET name = 'former' WHERE id = $1", members.pool_id)
    alone = await eventually(lambda: another_key(client, first), within_seconds=1)
    pool_id = await world.add_pool("public", members.partner)
    acme = await world.sql.fetchrow("SELECT id FROM tenants_tenant WHERE slug = 'acme'")
    await world.sql.execute(
        "INSERT INTO cacheproxy_poolmembership (pool_id, tenant_id, agreed_by, joined_at, joined_by, joined_via,"
        " left_by, left_via) VALUES ($1, $2, 'Ann', now(), 'test', 'admin', '', '')",
        pool_id, acme["id"],
    )  # fmt: skip
    second = await eventually(lambda: another_key(client, alone), within_seconds=1)
    assert len({first, alone, second}) == 3


async def another_key(client: Client, known: str) -> str | None:
    key = (await client.chat(headers={"x-zerorate-show-key": "true"})).headers["x-zerorate-key"]
    return None if key == known else key
