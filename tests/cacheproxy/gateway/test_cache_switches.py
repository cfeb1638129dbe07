"""The cache can be off for the whole deployment, a model, a plan or a key: calls pass by it, charged as ever."""

import asyncio

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer

OFF = {
    "model": """UPDATE cacheproxy_servedmodel SET cache = '{"enabled": false}'""",
    "plan": "UPDATE billing_plan SET enable_cache = false",
    "key": "UPDATE tenants_apikey SET enable_cache = false",
}


async def passes_by(client: Client) -> bool:
    given = await client.chat()
    assert given.status == 200
    return given.headers["cache-status"] == "zerorate; fwd=bypass"


@pytest.mark.parametrize("whose", OFF)
async def test_off_for_a_model_a_plan_or_a_key(
    client: Client, upstream: FakeUpstream, world: World, whose: str
) -> None:
    """What was kept before is not given while it is off, and given again afterwards."""
    await client.chat()
    assert "hit" in (await client.chat()).headers["cache-status"]
    await world.sql.execute(OFF[whose])
    await eventually(lambda: passes_by(client))
    asked = len(upstream.received)
    upstream.then(*[answer(chat_answer(), delay_seconds=0.1)] * 3)
    assert all(await asyncio.gather(*(passes_by(client) for _ in range(3))))
    assert len(upstream.received) == asked + 3
    last = (await world.events())[-1]
    assert (last["outcome"], last["input"]) == ("bypass", 12)
    await world.sql.execute(OFF[whose].replace("false", "true"))
    await eventually(lambda: hit(client))


async def hit(client: Client) -> bool:
    return "hit" in (await client.chat()).headers["cache-status"]


async def test_a_key_without_a_cache_leaves_its_tenants_others_alone(
    client: Client, session: aiohttp.ClientSession, cast: Cast, world: World
) -> None:
    api_key_id, key = await world.add_key(cast.acme.id)
    await world.sql.execute("UPDATE tenants_apikey SET enable_cache = false WHERE id = $1", api_key_id)
    other = Client(session, client.url, key)
    await eventually(lambda: passes_by(other))
    await client.chat()
    assert await hit(client)
    assert await passes_by(other)


async def test_off_for_the_deployment(
    gateway_settings: GatewaySettings, cast: Cast, session: aiohttp.ClientSession
) -> None:
    async with serving(msgspec.structs.replace(gateway_settings, enable_cache=False)) as (_, url):
        for _ in range(3):
            assert await passes_by(Client(session, url, cast.acme.key))
