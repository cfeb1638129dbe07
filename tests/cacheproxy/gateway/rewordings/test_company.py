"""Several calls at once, and several gateways."""

import asyncio

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, Semantic, findings, remembered
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.upstream import FakeUpstream


async def test_identical_calls_under_way_share_one_look_up_and_each_has_a_semantic_hit(
    client: Client, world: World, upstream: FakeUpstream, gateway: tuple[Gateway, str]
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    plain = [client.chat(REWORDED) for _ in range(4)]
    streamed = [client.chat(REWORDED, stream=True) for _ in range(4)]
    answers = await asyncio.gather(*plain, *streamed)
    assert {given.headers["cache-status"].rpartition("; ")[2] for given in answers} == {"detail=semantic"}
    assert len({given.headers["x-zerorate-similarity"] for given in answers}) == 1
    assert len(upstream.received) == 1
    assert findings(gateway)["hit"] < 8
    events = await world.events()
    assert [event["outcome"] for event in events] == ["miss", *["semantic"] * 8]
    assert len({event["similarity"] for event in events[1:]}) == 1


async def test_another_gateway_finds_it_for_itself_and_keeps_no_exact_copy(
    gateway_settings: GatewaySettings,
    client: Client,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    semantic: Semantic,
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    async with serving(gateway_settings, open_tier=semantic.open) as (_, url):
        there = Client(client.session, url, cast.acme.key)
        answers = await asyncio.gather(*(who.chat(REWORDED) for who in (client, there) * 3))
        later = [await who.chat(REWORDED) for who in (client, there)]
    assert {given.headers["cache-status"].rpartition("; ")[2] for given in (*answers, *later)} == {
        "detail=semantic"
    }
    assert len(upstream.received) == 1
    outcomes = [event["outcome"] for event in await world.events()]
    assert outcomes == ["miss", *["semantic"] * 8]


async def test_a_client_that_hangs_up_pays_nothing_for_a_semantic_hit(client: Client, world: World) -> None:
    await client.chat(ASKED)
    await remembered(world)
    calls = [asyncio.create_task(client.chat(f"{REWORDED}{' ' * n}")) for n in range(1, 4)]
    await asyncio.sleep(0.001)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    hit = await client.chat(REWORDED)
    assert hit.headers["cache-status"].endswith("detail=semantic")
    events = await world.events()
    assert {event["outcome"] for event in events} == {"miss", "semantic"}
    assert sum(event["outcome"] == "miss" for event in events) == 1
