"""What a client says about the cache holds for questions in other words as well."""

import asyncio

from cacheproxy.gateway.asgi import Gateway
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, findings, remembered
from tests.cacheproxy.gateway.world import Client, World
from tests.fakes.upstream import FakeUpstream


async def test_only_if_cached_is_answered_semantically_too(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    only = {"cache-control": "only-if-cached"}
    assert (await client.chat(REWORDED, headers=only)).status == 504
    await client.chat(ASKED)
    await remembered(world)
    hit = await client.chat(REWORDED, headers=only)
    assert hit.headers["cache-status"].endswith("detail=semantic")
    assert (await client.chat("Is there a dog on this train?", headers=only)).status == 504
    assert len(upstream.received) == 1
    assert [event["outcome"] for event in await world.events()] == ["miss", "semantic"]


async def test_an_answer_that_is_too_old_for_the_client_is_a_miss(client: Client, world: World) -> None:
    await client.chat(ASKED)
    await remembered(world)
    await asyncio.sleep(1.1)
    young = await client.chat(REWORDED, headers={"cache-control": "max-age=0"})
    assert young.headers["cache-status"] == "zerorate; fwd=miss; stored"
    await remembered(world, 2)
    older = await client.chat("How can one cancel my train ticket?", headers={"cache-control": "max-age=60"})
    assert older.headers["cache-status"].endswith("detail=semantic")


async def test_no_cache_asks_and_is_found_afterwards(client: Client, world: World) -> None:
    fresh = await client.chat(ASKED, headers={"cache-control": "no-cache"})
    assert fresh.headers["cache-status"] == "zerorate; fwd=bypass; stored"
    await remembered(world)
    hit = await client.chat(REWORDED)
    assert hit.headers["x-zerorate-source"] == fresh.headers["x-request-id"]
    again = await client.chat(REWORDED, headers={"cache-control": "no-cache"})
    assert again.headers["cache-status"] == "zerorate; fwd=bypass; stored"
    await remembered(world, 2)


async def test_no_store_neither_looks_nor_remembers(
    client: Client, world: World, gateway: tuple[Gateway, str]
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    unkept = await client.chat(REWORDED, headers={"cache-control": "no-store"})
    assert unkept.headers["cache-status"] == "zerorate; fwd=bypass"
    await asyncio.sleep(0.1)
    await remembered(world)
    assert findings(gateway) == {"none": 1}


async def test_a_plan_whose_cache_is_off_has_no_semantic_hits(client: Client, world: World) -> None:
    await client.chat(ASKED)
    await remembered(world)
    await world.sql.execute("UPDATE billing_plan SET enable_cache = false")
    await asyncio.sleep(0.5)
    off = await client.chat(REWORDED)
    assert off.headers["cache-status"] == "zerorate; fwd=bypass"


async def test_a_call_under_an_idempotency_key_is_answered_once(client: Client, world: World) -> None:
    await client.chat(ASKED)
    await remembered(world)
    first, second = [await client.chat(REWORDED, headers={"idempotency-key": "one"}) for _ in range(2)]
    assert first.headers["cache-status"].endswith("detail=semantic")
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-zerorate-similarity"] == first.headers["x-zerorate-similarity"]
    assert [event["outcome"] for event in await world.events()] == ["miss", "semantic"]
