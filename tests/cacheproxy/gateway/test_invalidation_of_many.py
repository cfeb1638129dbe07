"""Two gateway processes under load: a second after an invalidation nobody gets an older answer from either."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.world import Client, World
from tests.fakes.upstream import FakeUpstream, Received, answer, chat_answer

CALLERS = 8
QUESTIONS = 40
ROUNDS = 3
PAUSE_SECONDS = 1.2
WITHIN_SECONDS = 1.0


class Given(NamedTuple):
    """An answer, when its call began, and when its text was made."""

    asked_at: float
    made_at: float


class Invalidated(NamedTuple):
    """When an invalidation was begun, and when it was committed."""

    before: float
    after: float


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Give a model server whose answers say when they were made."""

    async def tell_the_time(call: Received, writer: asyncio.StreamWriter) -> None:
        await answer(chat_answer(str(time.time())))(call, writer)

    server = FakeUpstream(tell_the_time)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def clients(
    gateway_settings: GatewaySettings, cast: Cast, session: aiohttp.ClientSession
) -> AsyncIterator[list[Client]]:
    """Give acme's program at two gateway processes."""
    async with contextlib.AsyncExitStack() as stack:
        processes = [GatewayProcess(gateway_settings, free_port()) for _ in range(2)]
        for process in processes:
            await process.start()
            stack.push_async_callback(process.stop)
        yield [Client(session, process.url, cast.acme.key) for process in processes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def ask_on(client: Client, given: list[Given], until: asyncio.Event) -> None:
    """Ask the same few questions over and over."""
    number = 0
    while not until.is_set():
        number += 1
        asked_at = time.time()
        told = await client.chat(str(number % QUESTIONS), {"x-zerorate-cache-tags": "doc-1"})
        assert told.status == 200
        text = json.loads(told.body)["choices"][0]["message"]["content"]
        given.append(Given(asked_at, float(text)))


@pytest.mark.parametrize("place", [{}, {"model": "qwen-small"}, {"tag": "doc-1"}], ids=str)
async def test_no_hit_is_older_than_an_invalidation_of_a_second_ago(
    clients: list[Client], world: World, cast: Cast, place: dict[str, str]
) -> None:
    given: list[Given] = []
    enough = asyncio.Event()
    callers = [
        asyncio.create_task(ask_on(client, given, enough)) for client in clients for _ in range(CALLERS // 2)
    ]
    invalidated = []
    for _ in range(ROUNDS):
        await asyncio.sleep(PAUSE_SECONDS)
        before = time.time()
        await world.invalidate(cast.acme.id, **place)
        invalidated.append(Invalidated(before, time.time()))
    await asyncio.sleep(PAUSE_SECONDS)
    enough.set()
    await asyncio.gather(*callers)
    delays = [delay_of(one, given) for one in invalidated]
    hits = sum(1 for one in given if one.made_at < one.asked_at)
    print(
        f"{len(given)} calls, {hits} hits; the last older one after ms:", [f"{d * 1000:.1f}" for d in delays]
    )
    assert hits > len(given) * 0.7
    assert max(delays) < WITHIN_SECONDS


def delay_of(invalidated: Invalidated, given: list[Given]) -> float:
    """Return how long after the commit the last call began that got an answer from before it."""
    before, after = invalidated
    return max(
        (one.asked_at - after for one in given if one.made_at < before and after <= one.asked_at), default=0
    )
