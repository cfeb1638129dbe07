"""What the gateway logs of calls: one line each if wanted, and nothing of what was said, on any path."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from config.logging import JsonLines
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.world import Client, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, chat_events, drop, raw_answer, stream

MARKER = "xyzzy-marker"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Give all that is logged, of every level, as it would be written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.setLevel(level)
    root.removeHandler(handler)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


async def test_one_line_for_each_call_if_wanted(
    gateway_settings: GatewaySettings, cast: Cast, log: io.StringIO
) -> None:
    wanted = msgspec.structs.replace(gateway_settings, log_calls=True)
    async with serving(wanted) as (_, url), aiohttp.ClientSession() as session:
        client = Client(session, url, cast.acme.key)
        answers = [await client.chat(), await client.chat(), await client.chat(model="unheard-of")]
    told = [line for line in lines(log) if line["logger"] == "cacheproxy.gateway.calls"]
    assert [line["outcome"] for line in told] == ["miss", "exact", "refused"]
    assert [line["request_id"] for line in told] == [given.headers["x-request-id"] for given in answers]
    first = told[0]
    assert (first["tenant"], first["model"], first["surface"]) == ("acme", "qwen-small", "chat.completions")
    assert (first["status"], first["key"]) == (
        200,
        cast.acme.key.removeprefix("zr_live_")[: len(first["key"])],
    )
    assert first["latency_us"] > 0
    assert told[2]["status"] == 404


async def test_without_the_setting_calls_leave_no_line(client: Client, log: io.StringIO) -> None:
    await client.chat()
    assert not [line for line in lines(log) if line["logger"] == "cacheproxy.gateway.calls"]


async def test_no_prompt_answer_or_key_is_ever_logged(
    wires: Wires, cast: Cast, upstream: FakeUpstream, log: io.StringIO
) -> None:
    """Every path there is, with a marker in whatever a customer or an upstream says."""
    settings = msgspec.structs.replace(wires.gateway_settings, log_calls=True)
    garbage = f"{MARKER} {MARKER}\r\n\r\n".encode()
    events = chat_events((MARKER, MARKER))
    behaviours = (
        answer(chat_answer(MARKER)),
        answer({"error": {"message": MARKER}}, status=500),
        answer({"error": {"message": MARKER}}, status=401),
        answer({"error": {"message": MARKER}}, status=429),
        answer(chat_answer(MARKER, {"prompt_tokens": MARKER})),
        answer(chat_answer(MARKER, {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}})),
        raw_answer(MARKER.encode()),
        raw_answer(b"", status=302, headers={"location": f"http://{MARKER}/"}),
        raw_answer(MARKER.encode(), headers={"content-length": "900"}),
        raw_answer(MARKER.encode(), headers={"content-encoding": MARKER}),
        drop(garbage),
        drop(b"HTTP/1.1 200 OK\r\n" + MARKER.encode() + b"\x00\r\n\r\n"),
        drop(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + garbage),
        drop(),
        stream(*events),
        stream(events[0], events[1], whole=False),
        stream(b"data: " + MARKER.encode() + b"\n\n", b"data: [DONE]\n\n"),
        stream(MARKER.encode()),
    )
    async with serving(settings) as (_, url), aiohttp.ClientSession() as session:
        client = Client(session, url, cast.acme.key)

        async def tell(number: int, **more: Any) -> None:
            headers = {"user-agent": MARKER, "idempotency-key": f"{MARKER}-{number}", "traceparent": MARKER}
            await client.chat(f"{MARKER} {number}", headers, user=MARKER, **more)

        for number, behaviour in enumerate(behaviours):
            for streamed in (False, True):
                upstream.then(behaviour)
                await tell(2 * number + streamed, stream=streamed)
                upstream._script.clear()
                await tell(2 * number + streamed, stream=streamed)
        for body in (MARKER, {"model": MARKER}, {"model": "qwen-small", "messages": MARKER}, [MARKER]):
            await client.post(
                "/v1/chat/completions", body if isinstance(body, dict) else json.dumps(body).encode()
            )
            await client.post("/v1/embeddings", {"model": "embedder", "input": [{MARKER: MARKER}]})
            await client.post(f"/v1/predict/ocr/{MARKER}", {MARKER: MARKER})
            await client.post("/v1/predict/ocr", {MARKER: MARKER})
        await client.post("/v1/chat/completions", f'{{"{MARKER}'.encode())
        await Client(session, url, f"zr_live_{MARKER}").chat(MARKER)
        await Client(session, url, cast.acme.key[:-1] + "x").chat(MARKER)
        await client.chat(MARKER, {"cache-control": f"max-age={MARKER}"})
        await client.chat(MARKER, {"x-zerorate-session": MARKER * 99})
        wires.postgres.cut()
        await client.chat(f"{MARKER} to the spool")
        wires.redis.cut()
        await client.chat(f"{MARKER} to nobody")
        wires.redis.mend()
        wires.postgres.mend()
    text = log.getvalue()
    assert text.count("cacheproxy.gateway.calls") > 2 * len(behaviours)
    assert not [line for line in lines(log) if MARKER in json.dumps(line)]
    assert cast.acme.key not in text
    assert cast.acme.key.rpartition("_")[2][16:] not in text
