"""Who leaves while another gateway's call is waited for: the upstream is not asked for nobody."""

import asyncio
from typing import Any

import aiohttp

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, Received, reset


async def test_a_question_that_nobody_asks_any_more_is_not_put(
    gateway_settings: GatewaySettings, cast: Any, world: World, upstream: FakeUpstream
) -> None:
    left = asyncio.Event()

    async def fail_once_alone(call: Received, writer: asyncio.StreamWriter) -> None:
        await left.wait()
        await reset()(call, writer)

    upstream.then(fail_once_alone)
    async with (
        serving(gateway_settings) as (_, one),
        serving(gateway_settings) as (other, url),
        aiohttp.ClientSession() as session,
    ):
        leader = asyncio.create_task(Client(session, one, cast.acme.key).chat())
        await eventually(lambda: _found(upstream.received))
        follower = asyncio.create_task(Client(session, url, cast.acme.key).chat())
        await eventually(lambda: _found(_works(other)))
        (work,) = _works(other)
        follower.cancel()
        await eventually(lambda: _found(work.is_deserted))
        left.set()
        assert (await leader).status == 502
        await eventually(lambda: _found(not _works(other)))

    assert len(upstream.received) == 1
    assert await world.events() == []


async def _found(what: object) -> bool:
    return bool(what)


def _works(gateway: Gateway) -> list[Any]:
    return list(gateway._coalescing._works.values())
