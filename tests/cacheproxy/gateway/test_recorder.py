"""The recorder and the outage spool: durable before acknowledged, once, and never unrecorded."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.errors import EventConflict, InternalError, RecorderUnavailable
from cacheproxy.gateway.recording.ledger import Ledger, Verdict
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.recording.spool import STREAM, USAGE_EVENTS, Spool
from cacheproxy.redis_link import RedisLink
from metering.usage_event import UsageEvent, new_event_id, seal, to_json
from tests.cacheproxy.conftest import Connect
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, chat_events, stream

NOTICED_SECONDS = 2.0


def event(**changes: Any) -> UsageEvent:
    """Return a sealed miss of tenant 1."""
    event_id = new_event_id(time.time_ns())
    facts: dict[str, Any] = {
        "event_id": event_id,
        "tenant_id": 1,
        "api_key_id": 1,
        "request_id": event_id,
        "model": "qwen-small",
        "model_version": "1",
        "outcome": "miss",
        "occurred_at": datetime.now(UTC),
        "input": 12,
        "output": 5,
        "quality": "reported",
        "latency_us": 900,
        "upstream_latency_us": 800,
        "status": 200,
        "raw_usage": b'{"prompt_tokens": 12}',
    }
    return seal(UsageEvent(**(facts | changes)))


@pytest.fixture
async def recorder(wires: Wires, connect_link: Connect) -> AsyncIterator[Recorder]:
    """Give a started recorder behind the wires."""
    spool = Spool(await connect_link(wires.gateway_settings.redis_url), USAGE_EVENTS)
    recorder = Recorder(wires.gateway_settings, spool)
    await recorder.start()
    yield recorder
    await recorder.stop()


async def ids(world: World) -> list[Any]:
    """Return the ids recorded."""
    return [row["event_id"] for row in await world.events()]


async def drained(redis: Any) -> None:
    """Return once nothing waits in the spool."""

    async def is_empty() -> bool:
        return int(await redis.xlen(STREAM)) == 0

    await eventually(is_empty, within_seconds=NOTICED_SECONDS)


async def test_every_column_arrives_as_it_was(recorder: Recorder, world: World) -> None:
    miss = event(cache_read=1, cache_write=2, cache_write_1h=3, output_reasoning=4, units=6)
    hit = event(
        outcome="semantic", source_event=miss.event_id, similarity=0.5, raw_usage=None, api_key_id=None
    )
    await asyncio.gather(recorder.record(miss), recorder.record(hit))

    rows = await world.events()
    for row, sent in zip(rows, (miss, hit), strict=True):
        found = dict(row)
        del found["recorded_at"], found["xact_id"]
        if found["raw_usage"] is not None:
            found["raw_usage"] = found["raw_usage"].encode()
        assert found == msgspec.structs.asdict(sent)


async def test_waiting_events_share_a_transaction(recorder: Recorder, world: World) -> None:
    await asyncio.gather(*[recorder.record(event()) for _ in range(200)])

    transactions = {row["xact_id"] for row in await world.events()}
    assert len(await world.events()) == 200
    assert len(transactions) <= 2


async def test_l2_the_same_event_again_is_no_second_event(recorder: Recorder, world: World) -> None:
    """L2: unique on (tenant, event id) for ever; a repetition is ignored and takes nobody with it."""
    known = event()
    await recorder.record(known)
    others = [event() for _ in range(5)]
    await asyncio.gather(*[recorder.record(each) for each in (others[0], known, *others[1:], known)])

    assert sorted(await ids(world)) == sorted([known.event_id, *[each.event_id for each in others]])


async def test_l2_the_same_id_with_other_content_is_a_conflict(recorder: Recorder, world: World) -> None:
    """L2: the same id with another payload digest is a 409 and a row in the conflict table, once."""
    known, good = event(), event()
    other = event(event_id=known.event_id, input=999)
    await recorder.record(known)
    for _ in range(2):
        results = await asyncio.gather(recorder.record(other), recorder.record(good), return_exceptions=True)
        assert isinstance(results[0], EventConflict)
        assert results[1] is None

    assert sorted(await ids(world)) == sorted([known.event_id, good.event_id])
    (conflict,) = await world.sql.fetch("SELECT * FROM metering_usageconflict")
    assert conflict["event_id"] == known.event_id
    assert (conflict["recorded_digest"], conflict["refused_digest"]) == (
        known.payload_digest,
        other.payload_digest,
    )
    assert '"input": 999' in conflict["refused"]


async def test_an_event_that_the_table_refuses_takes_nobody_with_it(recorder: Recorder, world: World) -> None:
    good = [event() for _ in range(6)]
    bad = msgspec.structs.replace(event(), output_reasoning=99)
    unreadable = msgspec.structs.replace(event(), raw_usage=b"{not json")
    batch = [*good[:3], bad, *good[3:], unreadable]
    results = await asyncio.gather(*[recorder.record(each) for each in batch], return_exceptions=True)

    assert [type(result) for result in results] == [
        *[type(None)] * 3,
        InternalError,
        *[type(None)] * 3,
        InternalError,
    ]
    assert sorted(await ids(world)) == sorted(each.event_id for each in good)


async def test_while_postgresql_is_away_events_wait_in_redis(
    recorder: Recorder, wires: Wires, world: World, redis: Any
) -> None:
    first, second = event(), event()
    await recorder.record(first)
    wires.postgres.cut()
    await recorder.record(second)
    assert await redis.xlen(STREAM) == 1
    assert await ids(world) == [first.event_id]

    wires.postgres.mend()
    await drained(redis)
    assert await ids(world) == [first.event_id, second.event_id]
    await recorder.record(third := event())
    assert await redis.xlen(STREAM) == 0
    assert (await ids(world))[-1] == third.event_id


async def test_a_commit_whose_acknowledgement_was_lost_is_recorded_once(
    recorder: Recorder, wires: Wires, world: World, redis: Any
) -> None:
    await recorder.record(event())
    unsure = event()
    wires.postgres.deaf = True
    await recorder.record(unsure)
    assert await redis.xlen(STREAM) == 1

    wires.postgres.cut()
    wires.postgres.mend()
    await drained(redis)
    assert (await ids(world)).count(unsure.event_id) == 1


async def test_with_both_away_the_call_is_refused(recorder: Recorder, wires: Wires, world: World) -> None:
    wires.postgres.cut()
    wires.redis.cut()
    with pytest.raises(RecorderUnavailable):
        await recorder.record(event())
    assert await ids(world) == []

    wires.postgres.mend()
    async with asyncio.timeout(NOTICED_SECONDS):
        while True:
            try:
                await recorder.record(back := event())
                break
            except RecorderUnavailable:
                await asyncio.sleep(0.05)
    assert back.event_id in await ids(world)


async def test_several_gateways_drain_one_spool_once(
    gateway_settings: GatewaySettings, world: World, redis: Any, link: RedisLink
) -> None:
    spooled = [event() for _ in range(300)]
    spool = Spool(link, USAGE_EVENTS)
    for start in range(0, 300, 3):
        await spool.append(spooled[start : start + 3])
    await spool.append(spooled[:10])  # a commit whose acknowledgement was lost
    recorders = [Recorder(gateway_settings, Spool(link, USAGE_EVENTS)) for _ in range(3)]
    for each in recorders:
        await each.start()
    await drained(redis)
    for each in recorders:
        await each.stop()

    assert sorted(await ids(world)) == sorted(each.event_id for each in spooled)


async def test_a_lease_whose_holder_died_is_taken_over(
    gateway_settings: GatewaySettings, world: World, redis: Any, link: RedisLink
) -> None:
    await Spool(link, USAGE_EVENTS).append([event()])
    await redis.set(USAGE_EVENTS.lease, "somebody", px=300)
    recorder = Recorder(gateway_settings, Spool(link, USAGE_EVENTS))
    await recorder.start()
    await asyncio.sleep(0.15)
    assert await redis.xlen(STREAM) == 1
    await drained(redis)
    await recorder.stop()
    assert len(await ids(world)) == 1


async def test_what_cannot_be_drained_is_set_aside(
    gateway_settings: GatewaySettings, world: World, redis: Any, link: RedisLink
) -> None:
    good, bad = event(), msgspec.structs.replace(event(), output_reasoning=99)
    await redis.xadd(STREAM, {"1": b"garbage", "2": to_json(good), "3": to_json(bad)})
    ledger = Ledger(gateway_settings)
    assert await Spool(link, USAGE_EVENTS).drain(ledger.write) == 2
    await ledger.close()

    assert await ids(world) == [good.event_id]
    ((_, fields),) = await redis.xrange(USAGE_EVENTS.refused)
    assert set(fields) == {b"1", b"3"}


async def test_the_ledgers_verdicts_name_the_event(gateway_settings: GatewaySettings, world: World) -> None:
    ledger = Ledger(gateway_settings)
    known = event()
    assert await ledger.write([known]) == {}
    other = event(event_id=known.event_id, status=201)
    assert await ledger.write([other]) == {known.event_id: Verdict.CONFLICTED}
    await ledger.close()


async def test_calls_go_on_through_an_outage_of_postgresql(
    wires: Wires, cast: Cast, session: aiohttp.ClientSession, world: World, redis: Any
) -> None:
    async with serving(wires.gateway_settings) as (_, url):
        client = Client(session, url, cast.acme.key)
        answers = [await client.chat()]
        wires.postgres.cut()
        answers += [await client.chat(), await client.chat("other")]
        wires.postgres.mend()
        await drained(redis)
        answers.append(await client.chat())

    assert [answer.status for answer in answers] == [200] * 4
    assert [str(each) for each in await ids(world)] == [answer.headers["x-request-id"] for answer in answers]


async def test_with_both_away_no_answer_is_given(
    wires: Wires, cast: Cast, session: aiohttp.ClientSession, world: World, upstream: FakeUpstream
) -> None:
    async with serving(wires.gateway_settings) as (_, url):
        client = Client(session, url, cast.acme.key)
        await client.chat()
        upstream.then(stream(*chat_events(), pause_seconds=0.1))
        streaming = asyncio.create_task(client.chat("streamed", stream=True))
        await asyncio.sleep(0.3)
        wires.postgres.cut()
        wires.redis.cut()
        hit, miss = await client.chat(), await client.chat("other")
        streamed = await streaming

        for refused in (hit, miss):
            assert (refused.status, refused.code) == (503, "recorder_unavailable")
            assert refused.headers["retry-after"] == "1"
        assert b"recorder_unavailable" in streamed.body
        assert b"[DONE]" not in streamed.body
        wires.redis.mend()
        wires.postgres.mend()
        await asyncio.sleep(0.5)
        assert (await client.chat("other")).headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert len(await ids(world)) == 2


async def test_a_gateway_starts_without_postgresql_and_finds_it_later(
    wires: Wires, cast: Cast, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    wires.postgres.cut()
    async with serving(wires.gateway_settings) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        assert not gateway.health.report().ready
        refused = await client.chat()
        assert (refused.status, refused.code) == (503, "gateway_starting")
        assert "Check DATABASE_URL" in caplog.text
        wires.postgres.mend()

        async def served() -> bool:
            return (await client.chat()).status == 200

        await eventually(served, within_seconds=NOTICED_SECONDS)
        assert gateway.health.report().ready


async def test_a_shutdown_ends_calls_under_way_and_writes_what_waits(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
) -> None:
    upstream.then(stream(*chat_events(), pause_seconds=0.1))
    async with serving(gateway_settings) as (_, url):
        streaming = asyncio.create_task(Client(session, url, cast.acme.key).chat(stream=True))
        await asyncio.sleep(0.2)
    streamed = await streaming
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    assert len(await ids(world)) == 1
