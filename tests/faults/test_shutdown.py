"""SIGTERM to a gateway under load: what was begun ends, what is refused is told so, and all is accounted for."""

import asyncio
import time
from collections import Counter
from typing import Any

import aiohttp
import msgspec

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.test_streaming import DONE, text_of
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import FakeUpstream, Received, answer, chat_answer, chat_events, stream
from tests.faults.programs import free_port

PROGRAMS = 24


async def slow(call: Received, writer: asyncio.StreamWriter) -> None:
    """Answer well, but not at once."""
    if call.document.get("stream"):
        await stream(*chat_events(), pause_seconds=0.08)(call, writer)
    else:
        await answer(chat_answer(), delay_seconds=0.05)(call, writer)


async def program(client: Client, number: int, acknowledged: list[str]) -> str:
    """Call until there is nobody to call any more; return how that was told."""
    sent = 0
    while True:
        sent += 1
        streams = sent % 3 == 0
        try:
            given = await client.chat(f"prompt {number * 7 + sent % 5}", stream=streams)
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ServerDisconnectedError,
            ConnectionResetError,
        ) as failure:
            return type(failure).__name__
        if given.status == 503:
            assert "retry-after" in given.headers
            return "503"
        assert given.status == 200
        assert not streams or given.body.endswith(DONE)
        acknowledged.append(given.headers["x-request-id"])


async def test_sigterm_under_load_loses_nothing(
    gateway_settings: GatewaySettings, cast: Any, world: World
) -> None:
    upstream = FakeUpstream(slow)
    await upstream.start()
    await world.sql.execute("UPDATE cacheproxy_upstream SET url = $1", f"{upstream.url}/v1")
    gateway = GatewayProcess(gateway_settings, free_port())
    await gateway.start()
    acknowledged: list[str] = []
    async with aiohttp.ClientSession() as session:
        running = [
            asyncio.create_task(program(Client(session, gateway.url, cast.acme.key), number, acknowledged))
            for number in range(PROGRAMS)
        ]
        await asyncio.sleep(1.5)
        long = asyncio.create_task(Client(session, gateway.url, cast.acme.key).chat("long", stream=True))
        await asyncio.sleep(0.2)
        began_at = time.monotonic()
        await gateway.stop()
        took_seconds = time.monotonic() - began_at
        ends = Counter(await asyncio.gather(*running))
        last = await long
    await upstream.stop()

    assert took_seconds < 5
    assert text_of(last.body) == "Hello there."
    assert last.body.endswith(DONE)
    assert set(ends) <= {"ClientConnectorError", "ServerDisconnectedError", "ConnectionResetError", "503"}
    events = await world.events()
    assert len(acknowledged) > PROGRAMS
    assert sorted(str(event["event_id"]) for event in events) == sorted(
        [*acknowledged, last.headers["x-request-id"]]
    )


async def test_what_does_not_end_in_time_is_broken_off_and_recorded(
    gateway_settings: GatewaySettings, cast: Any, world: World, upstream: FakeUpstream
) -> None:
    settings = msgspec.structs.replace(gateway_settings, shutdown_grace_seconds=1)
    gateway = GatewayProcess(settings, free_port())
    await gateway.start()
    upstream.then(stream(*chat_events(["word "] * 1000), pause_seconds=0.1))
    async with aiohttp.ClientSession() as session:
        endless = asyncio.create_task(Client(session, gateway.url, cast.acme.key).chat(stream=True))

        async def asked() -> bool:
            return bool(upstream.received)

        await eventually(asked)
        await asyncio.sleep(0.5)
        began_at = time.monotonic()
        await gateway.stop()
        took_seconds = time.monotonic() - began_at
        (result,) = await asyncio.gather(endless, return_exceptions=True)

    assert took_seconds < 6
    assert isinstance(result, aiohttp.ClientPayloadError), "a stream that was cut cannot be taken for whole"
    (event,) = await world.events()
    assert (event["outcome"], event["quality"]) == ("miss", "estimated")
    assert event["output"] > 3
