"""L1 and L2 under every kind of call at once: hits, misses, streams, batches, shared and idempotent calls."""

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.world import Client, World
from tests.fakes.upstream import FakeUpstream
from tests.faults.programs import Program, free_port

KINDS = ("hit", "miss", "stream", "batch", "shared", "shared", "shared", "idempotent", "idempotent")
CALLS = 120
KILLS = 3


REFRESHED = {"ttl_seconds": 1, "early_refresh": 1, "stale_while_revalidate_seconds": 3600}


@pytest.mark.parametrize("policy", [{}, REFRESHED])
async def test_l1_l2_every_kind_of_call_survives_kills(
    gateway_settings: GatewaySettings,
    cast: Any,
    world: World,
    upstream: FakeUpstream,
    policy: dict[str, Any],
) -> None:
    """Each acknowledged call has its event, no event is there twice, and a call under one key is charged once.

    Refreshes have none, and what they leave behind names events that are there.
    """
    await world.sql.execute("UPDATE cacheproxy_servedmodel SET cache = $1", json.dumps(policy))
    settings = msgspec.structs.replace(gateway_settings, idempotency_lease_seconds=0.5)
    gateway = GatewayProcess(settings, free_port())
    keys = [await world.add_key(cast.acme.id) for _ in KINDS]
    await gateway.start()
    async with aiohttp.ClientSession() as session:
        programs = [
            Program(Client(session, gateway.url, key), kind, number)
            for number, (kind, (_, key)) in enumerate(zip(KINDS, keys, strict=True))
        ]
        running = asyncio.gather(*[program.run(CALLS) for program in programs])
        for kill in range(1, KILLS + 1):
            while sum(len(program.acknowledged) for program in programs) < kill * CALLS * len(KINDS) // (
                KILLS + 1
            ):
                assert not running.done() or running.result()
                await asyncio.sleep(0.005)
            await gateway.kill()
            await gateway.start()
        await running
    await gateway.stop()

    events = await world.events()
    recorded = Counter(event["event_id"] for event in events)
    assert set(recorded.values()) == {1}
    for program, (api_key_id, _) in zip(programs, keys, strict=True):
        acknowledged = [UUID(request_id) for request_id in program.acknowledged]
        assert len(set(acknowledged)) == CALLS
        assert all(event_id in recorded for event_id in acknowledged), program.kind
        own = {event["request_id"] for event in events if event["api_key_id"] == api_key_id}
        assert len(own) <= program.sent
        if program.kind == "idempotent":
            assert own == set(acknowledged), "a repetition was charged"
    outcomes = Counter(event["outcome"] for event in events)
    assert set(outcomes) == {"miss", "exact", "coalesced"}
    assert {event["source_event"] for event in events if event["outcome"] == "exact"} <= set(recorded)
    # A call carried on after a kill may come to another outcome; its first event stands, the other is kept beside.
    carried_on = {key_id for kind, (key_id, _) in zip(KINDS, keys, strict=True) if kind == "idempotent"}
    contradicted = await world.sql.fetch(
        "SELECT refused->>'api_key_id' AS api_key_id FROM metering_usageconflict"
    )
    assert {int(row["api_key_id"]) for row in contradicted} <= carried_on
