"""L1: the last byte of an answer leaves after the event's commit. kill -9 at any instant loses no acknowledged call."""

import asyncio
import socket
from collections import Counter
from typing import Any

import aiohttp

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.world import Client, World
from tests.fakes.upstream import FakeUpstream

CALLS = 10_000
CONNECTIONS = 32
KILLS = 5
PROMPTS = 400


class Program:
    """A customer's program with a key and a connection of its own: it calls until enough calls were acknowledged."""

    def __init__(self, client: Client, number: int) -> None:
        self.client = client
        self.number = number
        self.sent = 0
        self.acknowledged: list[str] = []

    async def run(self, calls: int) -> None:
        while len(self.acknowledged) < calls:
            self.sent += 1
            stream = self.sent % 10 == 0
            try:
                answer = await self.client.chat(
                    f"prompt {(self.sent * 7 + self.number) % PROMPTS}", stream=stream
                )
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.01)
                continue
            assert answer.status == 200, answer
            if not stream or answer.body.endswith(b"data: [DONE]\n\n"):
                self.acknowledged.append(answer.headers["x-request-id"])


async def test_l1_no_acknowledged_call_is_lost_over_kills(
    gateway_settings: GatewaySettings, cast: Any, world: World, upstream: FakeUpstream
) -> None:
    """10,000 calls from 32 connections while the gateway is killed five times: each acknowledged call, one event."""
    gateway = GatewayProcess(gateway_settings, _free_port())
    await gateway.start()
    keys = [await world.add_key(cast.acme.id) for _ in range(CONNECTIONS)]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        programs = [
            Program(Client(session, gateway.url, key), number) for number, (_, key) in enumerate(keys)
        ]
        running = asyncio.gather(*[program.run(CALLS // CONNECTIONS + 1) for program in programs])
        for kill in range(1, KILLS + 1):
            while sum(len(program.acknowledged) for program in programs) < kill * CALLS // (KILLS + 1):
                assert not running.done() or running.result()
                await asyncio.sleep(0.005)
            await gateway.kill()
            await gateway.start()
        await running
    await gateway.stop()

    events = await world.events()
    recorded = Counter(str(row["event_id"]) for row in events)
    acknowledged = [request_id for program in programs for request_id in program.acknowledged]
    assert len(acknowledged) >= CALLS
    assert len(set(acknowledged)) == len(acknowledged)
    assert all(recorded[request_id] == 1 for request_id in acknowledged)
    assert {row["source_event"] for row in events} - {None} <= {row["event_id"] for row in events}
    events_of_key = Counter(row["api_key_id"] for row in events)
    for (api_key_id, _), program in zip(keys, programs, strict=True):
        assert len(program.acknowledged) <= events_of_key[api_key_id] <= program.sent
    assert len(events) <= len(acknowledged) + KILLS * CONNECTIONS
    assert {"miss", "exact"} <= {row["outcome"] for row in events} <= {"miss", "exact", "coalesced"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
