"""HTTP/1.1 as it must be: framing, keep-alive, pipelining, streams, and an application that fails."""

import asyncio
import inspect
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from cacheproxy.gateway.http.exchange import ANSWER
from cacheproxy.gateway.http.protocol import HttpProtocol
from tests.cacheproxy.gateway.http.conftest import Site, echo, read, reply

GET = b"GET /a%20b?c=d#e HTTP/1.1\r\nHost: x\r\nX-Two: 2\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"


def test_what_is_relied_on_of_uvicorn() -> None:
    """Whoever moves the pin of uvicorn and sees this fail: read ADR 0008, then protocol.py beside uvicorn's own."""
    state = ServerState()
    assert (state.total_requests, state.connections, state.tasks) == (0, set(), set())
    assert state.default_headers == []
    config = uvicorn.Config(echo, http=HttpProtocol, log_config=None)
    assert not config.loaded
    config.load()
    assert config.http_protocol_class is HttpProtocol
    assert (callable(config.loaded_app), config.root_path) == (True, "")
    made = inspect.getsource(uvicorn.Server.startup)
    assert "http_protocol_class(" in made
    for name in ("config=config", "server_state=self.server_state", "app_state=", "_loop=_loop"):
        assert name in made
    assert "connection.shutdown()" in inspect.getsource(uvicorn.Server.shutdown)
    assert list(inspect.signature(HttpProtocol).parameters) == [
        "config",
        "server_state",
        "app_state",
        "_loop",
    ]


async def test_a_request_as_asgi_tells_it(site: Site) -> None:
    wire = await site.connect()
    await wire.say(GET)
    status, headers, body = await wire.answer()
    assert (status, body, headers["content-length"], headers["x-kind"]) == (200, b"", "0", "echo")
    assert headers["date"].endswith(" GMT")
    (scope,) = site.calls
    assert (scope["type"], scope["method"], scope["http_version"]) == ("http", "GET", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c=d")
    assert scope["headers"] == [(b"host", b"x"), (b"x-two", b"2")]
    assert scope["client"][0] == scope["server"][0] == "127.0.0.1"


async def test_connections_are_kept_and_closed(site: Site) -> None:
    wire = await site.connect()
    for _ in range(3):
        await wire.say(POST)
        status, headers, body = await wire.answer()
        assert (status, body) == (200, b"hello")
        assert "connection" not in headers
    await wire.say(POST.replace(b"host: x", b"connection: close"))
    _, headers, body = await wire.answer()
    assert (body, headers["connection"]) == (b"hello", "close")
    assert await wire.rest() == b""


async def test_http_1_0(site: Site) -> None:
    async def in_parts(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["http_version"] == "1.0"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    wire = await site.connect()
    site.application = in_parts
    await wire.say(b"GET / HTTP/1.0\r\n\r\n")
    head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert body == b"one two"


async def test_streams_leave_part_by_part(site: Site) -> None:
    go_on = asyncio.Event()

    async def in_parts(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await send({"type": "http.response.body"})

    wire = await site.connect()
    site.application = in_parts
    await wire.say(POST)
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert b"transfer-encoding: chunked\r\n" in head
    assert await wire.reader.readuntil(b"one \r\n") == b"4\r\none \r\n"
    go_on.set()
    assert await wire.reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 200), max_size=12),
    bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=5),
)
def test_requests_are_whole_wherever_they_are_cut(cuts: list[int], bodies: list[bytes]) -> None:
    """Pipelined, in any pieces, by length and by chunks, the answers are those of the requests, in order."""
    text = b"".join(
        b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        if number % 2 or not body
        else b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        for number, body in enumerate(bodies)
    )

    async def talk() -> list[bytes]:
        config = uvicorn.Config(echo, http=HttpProtocol, log_config=None)
        protocol = HttpProtocol(config, ServerState(), {})
        written = Written(protocol)
        start = 0
        for end in [*sorted(cuts), len(text)]:
            protocol.data_received(text[start:end])
            start = max(start, end)
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            while written.text.count(b"HTTP/1.1 200 OK") < len(bodies):  # noqa: ASYNC110 - of the fake's own
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        return [answer.partition(b"\r\n\r\n")[2] for answer in written.text.split(b"HTTP/1.1 200 OK")[1:]]

    assert asyncio.run(talk()) == bodies


class Written(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, protocol: HttpProtocol) -> None:
        super().__init__()
        self.text = b""
        self.writes = 0
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        self.text += data
        self.writes += 1

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


async def test_a_whole_answer_leaves_in_one_write() -> None:
    protocol = HttpProtocol(uvicorn.Config(echo, http=HttpProtocol, log_config=None), ServerState(), {})
    written = Written(protocol)
    protocol.data_received(POST)
    await asyncio.sleep(0.01)
    protocol.connection_lost(None)
    assert written.text.endswith(b"\r\n\r\nhello")
    assert written.writes == 1


async def test_head_and_answers_without_a_body(site: Site) -> None:
    wire = await site.connect()

    async def answer(scope: Any, _receive: Any, send: Any) -> None:
        await reply(send, b"never sent", status=204 if scope["path"] == "/204" else 200)

    site.application = answer
    for request in (b"HEAD / HTTP/1.1\r\n\r\n", b"GET /204 HTTP/1.1\r\n\r\n"):
        await wire.say(request)
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
    site.application = echo
    await wire.say(POST)
    assert (await wire.answer())[2] == b"hello"


async def test_large_bodies_both_ways(site: Site) -> None:
    wire = await site.connect()
    body = bytes(range(256)) * 8192
    sent = asyncio.create_task(wire.say(b"PUT / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body))
    assert (await wire.answer())[2] == body
    await sent


async def test_a_body_waits_for_the_go_ahead(site: Site) -> None:
    wire = await site.connect()
    expecting = POST.replace(b"host: x", b"Expect: 100-Continue")[:-5]
    await wire.say(expecting)
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.say(b"hello")
    assert (await wire.answer())[2] == b"hello"

    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await reply(send, b"no", status=413)

    site.application = refuse
    await wire.say(expecting)
    status, headers, _ = await wire.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert await wire.rest() == b""


async def test_a_body_that_nobody_wants_is_read_over(site: Site) -> None:
    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await reply(send, b"no", status=413)

    site.application = refuse
    wire = await site.connect()
    await wire.say(b"POST / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n" + b"x" * 1000)
    assert (await wire.answer())[0] == 413
    await wire.say(b"x" * 99_000)
    site.application = echo
    await wire.say(POST)
    assert (await wire.answer())[2] == b"hello"


async def test_an_upgrade_is_ignored(site: Site) -> None:
    wire = await site.connect()
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk"
    await wire.say(POST.replace(b"host: x", upgrade))
    assert (await wire.answer())[2] == b"hello"
    await wire.say(POST)
    assert (await wire.answer())[2] == b"hello"
    await wire.say(b"CONNECT x:1 HTTP/1.1\r\n\r\n")
    assert (await wire.answer())[0] == 400


async def test_the_application_learns_that_its_client_has_gone(site: Site) -> None:
    seen = asyncio.Event()

    async def wait(_scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        assert (await receive())["type"] == "http.disconnect"
        await reply(send, b"to nobody")
        seen.set()

    site.application = wait
    wire = await site.connect()
    await wire.say(POST)
    await asyncio.sleep(0.02)
    wire.writer.close()
    async with asyncio.timeout(1):
        await seen.wait()


async def test_an_application_that_fails(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: Any, _receive: Any, send: Any) -> None:
        if scope["path"] != "/before":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        if scope["path"] == "/during":
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if scope["path"] == "/short":
            await send({"type": "http.response.body", "body": b"part"})
        raise ValueError("a bug")

    site.application = fail
    for path in (b"before", b"after", b"short"):
        wire = await site.connect()
        await wire.say(b"GET /%b HTTP/1.1\r\n\r\n" % path)
        assert (await wire.answer())[0] == 500
        assert await wire.rest() == b""
    wire = await site.connect()
    await wire.say(b"GET /during HTTP/1.1\r\n\r\n")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await wire.answer()
    assert caplog.text.count("The application failed at /") == 4


@pytest.mark.parametrize("bad", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
async def test_no_header_becomes_two(site: Site, bad: bytes) -> None:
    async def inject(_scope: Any, _receive: Any, send: Any) -> None:
        await reply(send, b"", (b"x-bad", bad))

    site.application = inject
    wire = await site.connect()
    await wire.say(GET)
    status, headers, _ = await wire.answer()
    assert status == 500
    assert "set-cookie" not in headers


async def test_shutdown_lets_answers_end(site: Site) -> None:
    go_on = asyncio.Event()

    async def wait(_scope: Any, _receive: Any, send: Any) -> None:
        await go_on.wait()
        await reply(send, b"done")

    site.application = wait
    busy, idle = await site.connect(), await site.connect()
    await busy.say(GET)
    await asyncio.sleep(0.02)
    site.server.should_exit = True
    assert await idle.rest() == b""
    go_on.set()
    _, headers, body = await busy.answer()
    assert (body, headers["connection"]) == (b"done", "close")
    assert await busy.rest() == b""


async def test_a_whole_answer_in_one_step(site: Site) -> None:
    async def at_once(scope: Any, receive: Any, _send: Any) -> None:
        body = (await receive())["body"]
        answer = scope["extensions"][ANSWER]
        await answer(201, [(b"x-kind", b"whole")], body)
        with pytest.raises(RuntimeError):
            await answer(200, [], b"another")

    wire = await site.connect()
    site.application = at_once
    for _ in range(2):
        await wire.say(POST)
        status, headers, body = await wire.answer()
        assert (status, headers["x-kind"], body) == (201, "whole", b"hello")
        assert headers["content-length"] == "5"


@pytest.mark.parametrize("value", [b"a\r\nx-other: b", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_whole_answer_with_a_header_of_two_lines_is_cut(site: Site, value: bytes) -> None:
    async def lie(scope: Any, _receive: Any, _send: Any) -> None:
        await scope["extensions"][ANSWER](200, [(b"x-kind", value)], b"hello")

    wire = await site.connect()
    site.application = lie
    await wire.say(GET)
    assert (await wire.rest()).startswith(b"HTTP/1.1 500 ")
