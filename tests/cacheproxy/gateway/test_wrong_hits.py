"""Proofs of wrong hits on their way to PostgreSQL: safe in Redis meanwhile, written once, the bad ones set aside."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.recording.spool import Spool
from cacheproxy.gateway.recording.wrong_hits import WRONG_HITS, WrongHit, WrongHits
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.redis_link import RedisLink
from metering.usage_event import new_event_id
from tests.cacheproxy.conftest import Connect
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.world import World, eventually

Make = Callable[[GatewaySettings], Awaitable[WrongHits]]


@pytest.fixture
def make(connect_link: Connect) -> Make:
    """Give what makes one gateway's part."""

    async def make(settings: GatewaySettings) -> WrongHits:
        return WrongHits(settings, Spool(await connect_link(settings.redis_url), WRONG_HITS))

    return make


@pytest.fixture
def proof(cast: Cast) -> Callable[..., WrongHit]:
    """Give what makes proofs."""

    def proof(**changes: Any) -> WrongHit:
        now = datetime.now(UTC)
        event_id, source_event = new_event_id(time.time_ns()), new_event_id(time.time_ns())
        hit = WrongHit(
            cast.acme.id, event_id, now, "qwen-small", source_event, 0.93, 0.99, "It is wrong.", now
        )
        return msgspec.structs.replace(hit, **changes)

    return proof


async def written(world: World) -> list[Any]:
    """Return the events of the hits that PostgreSQL knows to be wrong."""
    rows = await world.sql.fetch("SELECT event_id FROM metering_wronghit ORDER BY event_id")
    return [row["event_id"] for row in rows]


async def are_written(world: World, *hits: WrongHit) -> None:
    """Wait until all these are written, and nothing else is."""

    async def all_are() -> bool:
        return await written(world) == sorted(hit.event_id for hit in hits)

    await eventually(all_are)


def shown(wrong_hits: WrongHits) -> dict[str, int]:
    """Return what metrics say."""
    metrics = Metrics()
    wrong_hits.tell(metrics)
    families = metrics.snapshot(0).families
    return {
        name.rpartition("_")[2]: value
        for name, series in families.items()
        for _, value in series
        if name.startswith("semantic_wrong_hits") and isinstance(value, int)
    }


async def test_every_column_arrives_as_it_was(
    make: Make, proof: Callable[..., WrongHit], gateway_settings: GatewaySettings, world: World
) -> None:
    wrong_hits = await make(gateway_settings)
    await wrong_hits.start()
    wrong_hits.add(hit := proof())
    await are_written(world, hit)
    await wrong_hits.stop()
    row = dict(await world.sql.fetchrow("SELECT * FROM metering_wronghit"))
    assert row.pop("id")
    assert row.pop("xact_id")
    assert row == msgspec.structs.asdict(hit)


async def test_while_postgresql_is_away_proofs_wait_in_redis_for_any_gateway(
    make: Make,
    proof: Callable[..., WrongHit],
    wires: Wires,
    gateway_settings: GatewaySettings,
    world: World,
    redis: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wires.postgres.cut()
    cut_off = await make(wires.gateway_settings)
    await cut_off.start()
    cut_off.add(hit := proof())

    async def is_safe() -> bool:
        return shown(cut_off) == {"waiting": 0, "spooled": 1, "lost": 0}

    await eventually(is_safe)
    assert await redis.xlen(WRONG_HITS.stream) == 1
    assert "wait in Redis" in caplog.text
    others = [await make(gateway_settings) for _ in range(3)]
    for other in others:
        await other.start()
    await are_written(world, hit)
    for each in (cut_off, *others):
        await each.stop()
    assert await redis.xlen(WRONG_HITS.stream) == 0


async def test_a_proof_that_is_spooled_again_is_written_once(
    make: Make,
    proof: Callable[..., WrongHit],
    gateway_settings: GatewaySettings,
    world: World,
    redis: Any,
    link: RedisLink,
) -> None:
    """As where the end of a commit, or of the entry in Redis, was not heard of before the process was killed."""
    first, second = proof(), proof()
    for hits in ([first], [first, second, second], [second, first]):
        await Spool(link, WRONG_HITS).append(hits)
    wrong_hits = await make(gateway_settings)
    await wrong_hits.start()
    wrong_hits.add(first)
    await are_written(world, first, second)
    await wrong_hits.stop()
    assert await redis.xlen(WRONG_HITS.stream) == 0
    await are_written(world, first, second)


async def test_what_postgresql_refuses_is_set_aside_and_stops_nobody(
    make: Make,
    proof: Callable[..., WrongHit],
    gateway_settings: GatewaySettings,
    world: World,
    redis: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = [proof() for _ in range(5)]
    bad = [proof(reason=""), proof(model="nul \0"), proof(tenant_id=1 << 70)]
    nobodys = proof(tenant_id=1 << 40)
    wrong_hits = await make(gateway_settings)
    for hit in (*good[:2], *bad, nobodys, *good[2:4]):
        wrong_hits.add(hit)
    await redis.xadd(WRONG_HITS.stream, {"garbage": b"{"})
    await wrong_hits.start()
    await are_written(world, *good[:4])
    wrong_hits.add(good[4])
    await are_written(world, *good)
    await wrong_hits.stop()
    aside = [name for _, fields in await redis.xrange(WRONG_HITS.refused) for name in fields]
    assert aside == [b"garbage", *(str(hit.event_id).encode() for hit in bad)]
    assert shown(wrong_hits) == {"waiting": 0, "spooled": 0, "lost": 4}
    assert WRONG_HITS.refused in caplog.text


async def test_while_redis_is_away_proofs_go_straight_to_postgresql(
    make: Make,
    proof: Callable[..., WrongHit],
    wires: Wires,
    world: World,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong_hits = await make(wires.gateway_settings)
    wires.redis.cut()
    await wrong_hits.start()
    good, bad = proof(), proof(reason="")
    wrong_hits.add(bad)
    wrong_hits.add(good)
    await are_written(world, good)
    await wrong_hits.stop()
    assert shown(wrong_hits) == {"waiting": 0, "spooled": 0, "lost": 1}
    assert f'"event_id":"{bad.event_id}"' in caplog.text


@pytest.mark.parametrize("back", ["postgres", "redis"])
async def test_with_both_away_proofs_wait_in_the_process_for_either(
    make: Make,
    proof: Callable[..., WrongHit],
    wires: Wires,
    gateway_settings: GatewaySettings,
    world: World,
    caplog: pytest.LogCaptureFixture,
    back: str,
) -> None:
    wrong_hits = await make(wires.gateway_settings)
    wires.postgres.cut()
    wires.redis.cut()
    await wrong_hits.start()
    wrong_hits.add(hit := proof())

    async def is_told() -> bool:
        return "wait in this process, and end with it" in caplog.text

    await eventually(is_told)
    assert shown(wrong_hits) == {"waiting": 1, "spooled": 0, "lost": 0}
    getattr(wires, back).mend()

    async def is_safe() -> bool:
        return shown(wrong_hits)["waiting"] == 0

    await eventually(is_safe)
    await wrong_hits.stop()
    other = await make(gateway_settings)
    await other.start()
    await are_written(world, hit)
    await other.stop()


async def test_what_is_lost_at_the_very_end_is_told_in_full(
    make: Make, proof: Callable[..., WrongHit], wires: Wires, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    wrong_hits = await make(wires.gateway_settings)
    wires.postgres.cut()
    wires.redis.cut()
    await wrong_hits.start()
    wrong_hits.add(hit := proof())
    await wrong_hits.stop()
    assert shown(wrong_hits)["lost"] == 1
    assert msgspec.json.encode([hit]).decode() in caplog.text
    assert not await written(world)
