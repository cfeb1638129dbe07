"""A served application, and raw connections to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import uvicorn

from cacheproxy.gateway.config import HttpSettings
from cacheproxy.gateway.http.protocol import HttpProtocol

Respond = Callable[[Any, Any, Any], Any]


class Impatient(HttpProtocol):
    """The protocol with time limits for tests."""

    settings = HttpSettings(
        max_connections=20,
        max_head_bytes=4096,
        max_headers=20,
        max_pipelined=8,
        head_seconds=0.3,
        body_stall_seconds=0.3,
        body_seconds=0.8,
        idle_seconds=0.5,
        write_stall_seconds=0.4,
        linger_seconds=0.2,
        tick_seconds=0.02,
    )


class Wire(NamedTuple):
    """One connection of a client who writes bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status_line.split()[1]), headers, await self._body(headers)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            assert await self.reader.readexactly(2) == b"\r\n"
            return body
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        return await self.reader.read()

    async def rest(self) -> bytes:
        """Return all that comes until the connection ends."""
        async with asyncio.timeout(3):
            return await self.reader.read()


class Site:
    """A server, whose application a test sets."""

    def __init__(self) -> None:
        self.application: Respond = echo
        self.calls: list[Any] = []
        self.server: uvicorn.Server
        self.wires: list[Wire] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls.append(scope)
        await self.application(scope, receive, send)

    async def connect(self) -> Wire:
        host, port = self.server.servers[0].sockets[0].getsockname()
        self.wires.append(Wire(*await asyncio.open_connection(host, port)))
        return self.wires[-1]

    @property
    def open(self) -> int:
        return len(self.server.server_state.connections)


async def read(receive: Any) -> bytes:
    """Return a whole body."""
    body, more = b"", True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        more = message["more_body"]
    return body


async def reply(send: Any, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    """Give a whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    """Answer with what came."""
    await reply(send, await read(receive), (b"x-kind", b"echo"))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Give a serving site; afterwards nothing of it may be left."""
    site = Site()
    site.server = uvicorn.Server(
        uvicorn.Config(
            site,
            port=0,
            lifespan="off",
            log_config=None,
            access_log=False,
            http=Impatient,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )
    serving = asyncio.create_task(site.server.serve())
    while not site.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    yield site
    for wire in site.wires:
        wire.writer.close()
        with contextlib.suppress(OSError):
            await wire.writer.wait_closed()
    site.server.should_exit = True
    await serving
    assert not site.server.server_state.tasks
    assert not site.open
