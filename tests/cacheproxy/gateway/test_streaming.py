"""Streams: unbuffered, read beside their way, recorded before their end, kept when they were whole."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from cacheproxy.gateway.asgi import Gateway
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, chat_events, stream

DONE = b"data: [DONE]\n\n"


def text_of(body: bytes) -> str:
    """Return the words of a streamed answer."""
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", [])]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_a_stream_passes_byte_for_byte_and_is_metered(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    events = chat_events()
    upstream.then(stream(*events))
    streamed = await client.chat(stream=True, stream_options={"include_usage": True})

    assert streamed.status == 200
    assert streamed.headers["content-type"] == "text/event-stream"
    assert streamed.headers["cache-status"] == "zerorate; fwd=miss"
    assert streamed.body == b"".join(events)
    (event,) = await world.events()
    assert (event["outcome"], event["quality"], event["input"], event["output"]) == (
        "miss",
        "reported",
        12,
        5,
    )
    assert str(event["event_id"]) == streamed.headers["x-request-id"]


async def test_usage_is_asked_for_and_kept_from_a_client_that_did_not_ask(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    streamed = await client.chat(stream=True)

    assert upstream.received[0].document["stream_options"] == {"include_usage": True}
    assert b'"usage"' not in streamed.body
    assert streamed.body.endswith(DONE)
    assert (await world.events())[0]["quality"] == "reported"


async def test_a_stream_is_replayed_as_stream_and_as_plain(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    streamed = await client.chat(stream=True)
    again = await client.chat(stream=True)
    plain = await client.chat()

    assert len(upstream.received) == 1
    assert "; hit;" in again.headers["cache-status"]
    assert again.headers["content-type"] == "text/event-stream"
    assert text_of(streamed.body) == text_of(again.body) == "Hello there."
    assert again.body.endswith(DONE)
    assert plain.document["choices"][0]["message"]["content"] == "Hello there."
    assert plain.headers["x-zerorate-source"] == streamed.headers["x-request-id"]
    assert [row["outcome"] for row in await world.events()] == ["miss", "exact", "exact"]


async def test_a_plain_answer_is_replayed_as_a_stream(client: Client, upstream: FakeUpstream) -> None:
    await client.chat()
    streamed = await client.chat(stream=True, stream_options={"include_usage": True})

    assert "; hit;" in streamed.headers["cache-status"]
    assert text_of(streamed.body) == "Hello there."
    assert b'"usage":{' in streamed.body
    assert streamed.body.endswith(DONE)
    assert len(upstream.received) == 1


async def test_an_upstream_that_does_not_stream_is_streamed_all_the_same(
    client: Client, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer()))
    streamed = await client.chat(stream=True)

    assert streamed.headers["content-type"] == "text/event-stream"
    assert text_of(streamed.body) == "Hello there."


async def test_what_comes_goes_on_at_once(client: Client, upstream: FakeUpstream) -> None:
    upstream.then(stream(*chat_events(), pause_seconds=0.1))
    arrivals = [time.monotonic() async for _ in _streamed(client)]

    assert arrivals[-1] - arrivals[0] > 0.3, "the stream was buffered"


async def test_l1_the_closing_event_waits_for_the_commit(
    client: Client, gateway: tuple[Gateway, str], upstream: FakeUpstream, world: World
) -> None:
    """L1: the last byte of an answer leaves after the event's commit."""
    await world.sql.execute("BEGIN")
    await world.sql.execute("LOCK TABLE metering_usageevent IN ACCESS EXCLUSIVE MODE")
    received = b""
    released = False
    async for part in _streamed(client):
        received += part
        if text_of(received) == "Hello there." and not released:
            await asyncio.sleep(0.2)
            assert DONE not in received
            await world.sql.execute("COMMIT")
            released = True
        if DONE in received:
            assert len(await world.events()) == 1
    assert released
    assert received.endswith(DONE)


async def test_a_stream_cut_short_is_recorded_estimated_and_not_kept(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(stream(*chat_events()[:3], whole=False))
    cut = await client.chat(stream=True)

    assert cut.status == 200
    assert text_of(cut.body) == "Hello there"
    assert DONE not in cut.body
    assert json.loads(cut.body.rsplit(b"data: ", 1)[1])["error"]["code"] == "upstream_broken"
    (event,) = await world.events()
    assert (event["outcome"], event["quality"]) == ("miss", "estimated")
    assert event["output"] == 3
    assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_a_stream_without_its_closing_event_is_no_answer(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(stream(*chat_events()[:-1]))
    cut = await client.chat(stream=True)

    assert b'"error"' in cut.body
    assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_a_stream_that_dies_before_its_first_event_is_a_502(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(stream(whole=False))
    failed = await client.chat(stream=True)

    assert (failed.status, failed.code) == (502, "upstream_broken")
    assert await world.events() == []


async def test_a_stream_that_outlives_the_models_time_ends_in_an_error(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await world.sql.execute("UPDATE cacheproxy_upstream SET timeout_seconds = 1")
    await asyncio.sleep(0.2)
    upstream.then(stream(*chat_events(), pause_seconds=0.4))
    cut = await client.chat(stream=True)

    assert json.loads(cut.body.rsplit(b"data: ", 1)[1])["error"]["code"] == "upstream_timeout"
    assert (await world.events())[0]["quality"] == "estimated"


async def test_an_error_inside_a_stream_costs_nothing(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(stream(b'data: {"error": {"message": "no"}}\n\n', DONE))
    failed = await client.chat(stream=True)

    assert b'"message": "no"' in failed.body
    assert await world.events() == []
    assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_whoever_hangs_up_the_answer_is_read_recorded_and_kept(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(stream(*chat_events(), pause_seconds=0.05))
    await _hang_up_after_first_event(client)
    events = await eventually(world.events)

    assert (events[0]["quality"], events[0]["output"]) == ("reported", 5)
    assert "; hit;" in (await client.chat()).headers["cache-status"]


@pytest.mark.parametrize("bound", ["drain_seconds = 1", "drain_tokens = 10"])
async def test_after_a_client_has_gone_the_upstream_is_read_for_a_while_only(
    client: Client, upstream: FakeUpstream, world: World, bound: str
) -> None:
    await world.sql.execute(f"UPDATE billing_plan SET {bound}")
    await asyncio.sleep(0.2)
    upstream.then(stream(*chat_events(["word "] * 100), pause_seconds=0.05))
    await _hang_up_after_first_event(client)
    (event,) = await eventually(world.events)

    assert event["quality"] == "estimated"
    assert 0 < event["output"] < 100


async def test_a_plain_call_whose_client_left_is_recorded_and_kept(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=0.3))
    call = asyncio.create_task(client.chat())
    await asyncio.sleep(0.1)
    call.cancel()
    await eventually(world.events)
    assert "; hit;" in (await client.chat()).headers["cache-status"]
    assert len(upstream.received) == 1


def _ask(client: Client) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    document = {"model": "qwen-small", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    headers = {"authorization": f"Bearer {client.key}"}
    return client.session.post(f"{client.url}/v1/chat/completions", json=document, headers=headers)


async def _streamed(client: Client) -> AsyncIterator[bytes]:
    async with _ask(client) as response:
        async for part in response.content.iter_any():
            yield part


async def _hang_up_after_first_event(client: Client) -> None:
    async with _ask(client) as response:
        await response.content.readany()
        response.close()
