"""A model server that does as it is told: real HTTP over a real socket, and every way of failing.

By default it answers like a small OpenAI-compatible server, ``predict`` included. A test scripts what comes next::

    upstream.then(answer({"error": {"message": "no"}}, status=500), drop())

Each scripted behaviour serves one call, in order.
"""

import asyncio
import json
import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


class Received(NamedTuple):
    """A call as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


class FakeUpstream:
    """The server. ``received`` holds every call there was."""

    def __init__(
        self,
        by_default: Behaviour | None = None,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._by_default = by_default or default
        self._host = host
        self._tls = tls
        self.received: list[Received] = []
        self.connections = 0
        self.accepted = 0
        self._script: deque[Behaviour] = deque()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme, host = (
            "https" if self._tls else "http",
            f"[{self._host}]" if ":" in self._host else self._host,
        )
        return f"{scheme}://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, 0, limit=1 << 26, ssl=self._tls)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    def then(self, *behaviours: Behaviour) -> None:
        """Serve the next calls like this."""
        self._script.extend(behaviours)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        self.accepted += 1
        try:
            while (call := await _read(reader)) is not None:
                self.received.append(call)
                await (self._script.popleft() if self._script else self._by_default)(call, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            self.connections -= 1
            if self._tls:
                writer.transport.abort()  # closing would go on after the test
            else:
                writer.close()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    request_line, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(request_line.split()[1], headers, body)


def answer(
    document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, delay_seconds: float = 0
) -> Behaviour:
    """Answer with JSON."""
    return raw_answer(
        json.dumps(document).encode(),
        status=status,
        headers={"content-type": "application/json", **(headers or {})},
        delay_seconds=delay_seconds,
    )


def raw_answer(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, delay_seconds: float = 0
) -> Behaviour:
    """Answer with these bytes."""

    async def behave(_call: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay_seconds)
        fields = {"content-length": str(len(body)), **(headers or {})}
        writer.write(_head(status, fields) + body)

    return behave


def stream(*parts: bytes, pause_seconds: float = 0, whole: bool = True) -> Behaviour:
    """Answer with an event stream in these parts; the connection is dropped after them unless *whole*."""

    async def behave(_call: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
        for part in parts:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(pause_seconds)
        if not whole:
            raise ConnectionResetError
        writer.write(b"0\r\n\r\n")

    return behave


def drop(after: bytes = b"") -> Behaviour:
    """Close the connection, after these raw bytes."""

    async def behave(_call: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        raise ConnectionResetError

    return behave


def reset(after: bytes = b"") -> Behaviour:
    """Reset the connection (RST, no orderly end), after these raw bytes."""

    async def behave(_call: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionResetError

    return behave


def stall(after: bytes = b"") -> Behaviour:
    """Say no more, after these raw bytes, and keep the connection for as long as the client does."""

    async def behave(_call: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        hung_up = select.poll()
        hung_up.register(writer.get_extra_info("socket"), select.POLLRDHUP)
        while not hung_up.poll(0):  # noqa: ASYNC110 - streams tell of a hang-up only to who reads
            await asyncio.sleep(0.01)
        raise ConnectionResetError

    return behave


def trickle(raw: bytes, *, pause_seconds: float, size: int = 1) -> Behaviour:
    """Answer with these raw bytes, a few at a time."""

    async def behave(_call: Received, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(raw), size):
            writer.write(raw[start : start + size])
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return behave


def endless(part: bytes, *, pause_seconds: float = 0) -> Behaviour:
    """Answer with an event stream that repeats this part until the client has had enough."""

    async def behave(_call: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
        while True:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return behave


def html(status: int = 200) -> Behaviour:
    """Answer as a proxy in front of a model server does."""
    return raw_answer(b"<html><h1>Hello</h1></html>", status=status, headers={"content-type": "text/html"})


def raw_head(status: int = 200, **headers: str) -> bytes:
    """Return the head of an answer; a header's name has _ for -."""
    return _head(status, {name.replace("_", "-"): value for name, value in headers.items()})


def chat_answer(text: str = "Hello there.", usage: Mapping[str, Any] | None = USAGE) -> dict[str, Any]:
    """Return a chat completion."""
    message = {"role": "assistant", "content": text}
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "small",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    return document if usage is None else {**document, "usage": dict(usage)}


def chat_events(
    words: Iterable[str] = ("Hello", " there", "."), usage: Mapping[str, Any] | None = USAGE
) -> list[bytes]:
    """Return the events of a streamed chat completion, the closing one last."""
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word}, None) for word in words]
    deltas.append(({}, "stop"))
    events = [_chunk([{"index": 0, "delta": delta, "finish_reason": ending}]) for delta, ending in deltas]
    if usage is not None:
        events.append(_chunk([], usage))
    return [*events, b"data: [DONE]\n\n"]


def _chunk(choices: list[Any], usage: Mapping[str, Any] | None = None) -> bytes:
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "small",
        "choices": choices,
    }
    return b"data: " + json.dumps({**document, "usage": usage} if usage else document).encode() + b"\n\n"


async def default(call: Received, writer: asyncio.StreamWriter) -> None:
    """Answer as a well-behaved server does."""
    if call.path.endswith("/chat/completions"):
        behaviour = stream(*chat_events()) if call.document.get("stream") else answer(chat_answer())
    elif call.path.endswith("/embeddings"):
        texts = call.document["input"]
        count = len(texts) if isinstance(texts, list) else 1
        data = [{"object": "embedding", "index": n, "embedding": [0.5, n]} for n in range(count)]
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        behaviour = answer({"object": "list", "data": data, "model": "small", "usage": usage})
    else:
        behaviour = answer({"echo": call.document, "usage": {"input_tokens": 7, "output_tokens": 3}})
    await behaviour(call, writer)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
