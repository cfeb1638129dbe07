"""What bad clients cannot do: hold a connection for ever, or make the gateway hold more than it should."""

import asyncio
import time
from typing import Any

import pytest

from tests.cacheproxy.gateway.http.conftest import Impatient, Site, read, reply

HEAD = b"POST / HTTP/1.1\r\ncontent-length: 5\r\n"


async def refusal(site: Site, *parts: bytes, pause_seconds: float = 0) -> tuple[int, bytes]:
    """Return the status that answers *parts*, and what follows the answer."""
    wire = await site.connect()
    for part in parts:
        await wire.say(part)
        await asyncio.sleep(pause_seconds)
    status, headers, body = await wire.answer()
    assert headers["connection"] == "close"
    assert b'"code":' in body
    return status, await wire.rest()


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\na: b\r\n c: folded\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_not_http_is_refused(site: Site, text: bytes) -> None:
    assert await refusal(site, text) == (400, b"")
    assert not site.calls


async def test_heads_are_bounded(site: Site) -> None:
    many = b"".join(b"x-%d: 1\r\n" % n for n in range(21))
    assert await refusal(site, b"GET / HTTP/1.1\r\n" + many + b"\r\n") == (431, b"")
    assert await refusal(site, b"GET / HTTP/1.1\r\nx: " + b"y" * 5000 + b"\r\n\r\n") == (431, b"")
    assert await refusal(site, b"GET / HTTP/1.1\r\nx: ", *[b"y" * 1000] * 5, pause_seconds=0.01) == (431, b"")
    assert not site.calls


async def test_a_stalled_head_is_refused(site: Site) -> None:
    started = time.monotonic()
    assert await refusal(site, *(HEAD[n : n + 1] for n in range(8)), pause_seconds=0.02) == (408, b"")
    assert 0.3 <= time.monotonic() - started < 1.5
    assert not site.calls


async def test_a_stalled_body_is_refused_and_its_application_told(site: Site) -> None:
    seen: list[str] = []

    async def listen(_scope: Any, receive: Any, _send: Any) -> None:
        seen.extend([(await receive())["type"], (await receive())["type"]])

    site.application = listen
    assert await refusal(site, HEAD + b"\r\nhel") == (408, b"")
    assert seen == ["http.request", "http.disconnect"]


async def test_a_body_in_crumbs_is_refused_in_the_end(site: Site) -> None:
    wire = await site.connect()
    await wire.say(b"POST / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n")

    async def crumbs() -> None:
        while True:
            await wire.say(b"x")
            await asyncio.sleep(0.1)

    feeding = asyncio.create_task(crumbs())
    started = time.monotonic()
    assert (await wire.answer())[0] == 408
    assert 0.7 < time.monotonic() - started < 2
    feeding.cancel()
    await asyncio.wait({feeding})


async def test_a_chunk_that_lies_is_refused(site: Site) -> None:
    text = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n"
    assert await refusal(site, text) == (400, b"")


async def test_time_that_the_application_takes_is_not_the_clients(site: Site) -> None:
    async def slow(_scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await reply(send, b"%d" % len(await read(receive)))

    site.application = slow
    wire = await site.connect()
    sending = asyncio.create_task(
        wire.say(b"POST / HTTP/1.1\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 9_000_000)
    )
    status, _, body = await wire.answer()
    assert (status, body) == (200, b"9000000")
    await sending


async def test_an_idle_connection_is_closed_without_a_word(site: Site) -> None:
    fresh, used = await site.connect(), await site.connect()
    await used.say(b"GET / HTTP/1.1\r\n\r\n")
    assert (await used.answer())[0] == 200
    started = time.monotonic()
    assert await fresh.rest() == await used.rest() == b""
    assert 0.4 < time.monotonic() - started < 1.5


async def test_a_client_who_does_not_read_is_dropped(site: Site) -> None:
    ended = asyncio.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        written = 0
        while site.open:
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            written += 65_536
            assert written < 64 << 20, "what nobody reads piles up"
        ended.set()

    site.application = endless
    wire = await site.connect()
    await wire.say(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        await ended.wait()


async def test_requests_sent_ahead_are_bounded(site: Site) -> None:
    release = asyncio.Event()

    async def wait(_scope: Any, _receive: Any, send: Any) -> None:
        await release.wait()
        await reply(send, b"")

    site.application = wait
    wire = await site.connect()
    await wire.say(b"GET / HTTP/1.1\r\n\r\n" * 50)
    await asyncio.sleep(0.05)
    release.set()
    text = await wire.rest()
    assert text.count(b"HTTP/1.1 200 OK") == Impatient.settings.max_pipelined + 1
    assert text.count(b"connection: close") == 1


async def test_connections_are_bounded(site: Site) -> None:
    wires = [await site.connect() for _ in range(20)]
    await asyncio.sleep(0.02)
    one_more = await site.connect()
    assert (await one_more.answer())[0] == 503
    wires[0].writer.close()
    await asyncio.sleep(0.3)
    await (again := await site.connect()).say(b"GET / HTTP/1.1\r\n\r\n")
    assert (await again.answer())[0] == 200


async def test_trailers_are_no_headers(site: Site) -> None:
    wire = await site.connect()
    await wire.say(
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nauthorization: Bearer x\r\n\r\n"
    )
    assert (await wire.answer())[2] == b"hi"
    assert site.calls[0]["headers"] == [(b"transfer-encoding", b"chunked")]
