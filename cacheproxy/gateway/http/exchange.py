"""One request and its answer, as ASGI wants them."""

import asyncio
import http
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from cacheproxy.gateway.http.outlet import Outlet

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in http.HTTPStatus
}
BODILESS = {204, 304}
PLAIN_TEXT = (b"content-type", b"text/plain; charset=utf-8")
ANSWER = "zerorate.answer"
"""An extension of ASGI: a whole answer in one step, as ``await answer(status, headers, body)``."""
LARGE_BYTES = 65_536
"""From this size a body is not copied to stand beside its head, but written after it."""


class Connection(Protocol):
    """What an exchange needs of its connection."""

    paused: bool
    """Whether the client has yet to read what was written."""
    outlet: Outlet

    def common_lines(self) -> list[bytes]:
        """Return the header lines that every answer has."""

    async def writable(self) -> None:
        """Return when the client has read most of what was written, or has gone."""

    def read_on(self) -> None:
        """Read from the client, if that was paused."""

    def ended(self, exchange: "Exchange") -> None:
        """Go on to what follows the exchange."""

    def cut(self) -> None:
        """Close the connection in the middle of an answer, so that nobody takes it for whole."""


class Exchange:
    """One request, the body as it comes, and the answer. An answer that is given in one piece leaves in one write."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_delivered",
        "_headers",
        "_left",
        "_news",
        "_parts",
        "_status",
        "answered",
        "awaits_continue",
        "gone",
        "keep_alive",
        "scope",
        "started",
        "unread",
        "whole",
    )

    def __init__(
        self, connection: Connection, scope: Any, *, keep_alive: bool, awaits_continue: bool
    ) -> None:
        self.scope = scope
        scope["extensions"] = {ANSWER: self.answer}
        self.keep_alive = keep_alive
        self.awaits_continue = awaits_continue
        self.whole = False
        """Whether all of the request has come."""
        self.unread = 0
        """Bytes of the body that the application has not fetched."""
        self.started = False
        """Whether something of the answer was written."""
        self.answered = False
        self.gone = False
        """Whether the client is; what is sent then goes nowhere."""
        self._connection = connection
        self._parts: list[bytes] = []
        self._delivered = False
        self._news: asyncio.Event | None = None
        self._status: int | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunked = False
        self._left: int | None = None

    async def run(self, application: Application) -> None:
        """Let *application* answer; if it does not, say so to the client, or cut the connection."""
        try:
            await application(self.scope, self.receive, self.send)
            if not (self.answered or self.gone):
                logger.error("The application did not answer %s.", self.scope["path"])
        except Exception:
            logger.exception("The application failed at %s.", self.scope["path"])
        finally:
            if not (self.answered or self.gone):
                self._give_up()
            self.forget()

    def forget(self) -> None:
        """Let go of what refers to this, so that no exchange waits for the garbage collector."""
        self.scope.pop("extensions", None)

    @property
    def body(self) -> bytes:
        """What has come of the request's body and was not received yet."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def take(self, part: bytes) -> None:
        """Keep *part* of the request's body."""
        self._parts.append(part)
        self.unread += len(part)
        self.tell()

    def tell(self) -> None:
        """Wake the application: something has come, or ended."""
        if self._news is not None:
            self._news.set()

    async def receive(self) -> Message:
        """Return what has come of the body, or that the client has gone (or its answer is complete)."""
        if self.awaits_continue and not self.gone:
            self.awaits_continue = False
            self._connection.outlet.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._deliverable() or self.answered or self.gone):
            self._connection.read_on()
            self._news = self._news or asyncio.Event()
            self._news.clear()
            await self._news.wait()
        if self.answered or self.gone:
            return {"type": "http.disconnect"}
        body = self.body
        self._parts, self.unread, self._delivered = [], 0, self.whole
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    async def send(self, message: Message) -> None:
        """Send the head, which waits for the first of the body, or a part of the body.

        Raises:
            RuntimeError: the application breaks the rules of ASGI or HTTP; the answer is cut.
        """
        if self._connection.paused:
            await self._connection.writable()
        if self.gone:
            return
        if message["type"] == "http.response.body" and self._status is not None and not self.answered:
            self._send_body(message.get("body", b""), last=not message.get("more_body", False))
        elif message["type"] == "http.response.start" and self._status is None:
            self._status = message["status"]
            self._headers = list(message.get("headers", ()))
        else:
            raise RuntimeError(f"{message['type']} is out of turn")

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer: what two messages say, in one step. How the client finds its end is not for *headers*.

        Raises:
            RuntimeError: an answer has begun already, or breaks the rules of HTTP.
        """
        if self._connection.paused:
            await self._connection.writable()
        self.give(status, headers, body)

    def give(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Write a whole answer, as `answer` does, whether the client keeps up with reading or not."""
        if self.gone:
            return
        if self._status is not None:
            raise RuntimeError("an answer has begun already")
        self._status = status
        if self._bodiless() or len(body) >= LARGE_BYTES or not self.keep_alive or self.awaits_continue:
            self._headers = headers
            self._send_body(body, last=True)
            return
        lines = [_status_line(status), *self._connection.common_lines()]
        lines += map(b": ".join, headers)
        lines += (b"content-length: %d" % len(body), b"\r\n")
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise RuntimeError("a header holds a line break or NUL")
        self.started = self.answered = True
        self._connection.outlet.write_soon(head + body)
        self.tell()
        self._connection.ended(self)

    def _deliverable(self) -> bool:
        return bool(self._parts) or (self.whole and not self._delivered)

    def _send_body(self, body: bytes, *, last: bool) -> None:
        if self.started:
            parts = self._framed(body, last=last)
        else:
            head = self._head(len(body) if last else None)
            parts = [head, *self._framed(body, last=last)]
            self.started = True
        if len(body) < LARGE_BYTES:
            self._connection.outlet.write(b"".join(parts))
        else:
            self._connection.outlet.write(*parts)
        if last:
            self.answered = True
            self.tell()
            self._connection.ended(self)

    def _framed(self, body: bytes, *, last: bool) -> list[bytes]:
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (last and self._left):
                raise RuntimeError("the answer is not as long as its content-length says")
        elif self._chunked:
            framed = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
            return [*framed, b"0\r\n\r\n"] if last else framed
        elif self._bodiless():
            return []
        return [body]

    def _bodiless(self) -> bool:
        return self.scope["method"] == "HEAD" or self._status in BODILESS

    def _head(self, length: int | None) -> bytes:
        """Return the head of an answer whose whole body has *length* bytes, if that is known.

        Raises:
            RuntimeError: a header holds what would let it become headers, or an answer, of its own.
        """
        status = self._status or 0
        lines = [_status_line(status), *self._connection.common_lines()]
        lines += map(b": ".join, self._headers)
        named = dict(self._headers)
        self._frame(named, lines, length)
        if b"close" in named.get(b"connection", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive or (self.awaits_continue and not self.whole):
            self.keep_alive = False
            lines.append(b"connection: close")
        together = b"".join(lines)
        if b"\n" in together or b"\r" in together or b"\0" in together:
            raise RuntimeError("a header holds a line break or NUL")
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    def _frame(self, named: dict[bytes, bytes], lines: list[bytes], length: int | None) -> None:
        """Settle how the client finds the answer's end: by a length, by chunks, or (HTTP/1.0) by the connection's."""
        if self._bodiless():
            return
        stated = named.get(b"content-length")
        if stated is not None:
            self._left = int(stated)
        elif b"transfer-encoding" in named:
            self._chunked = True
        elif length is not None:
            self._left = length
            lines.append(b"content-length: %d" % length)
        elif self.scope["http_version"] == "1.1":
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        else:
            self.keep_alive = False

    def _give_up(self) -> None:
        if self.started:
            self._connection.cut()
            return
        self._status, self._headers, self.keep_alive = 500, [PLAIN_TEXT], False
        self._left, self._chunked = None, False
        self._send_body(b"Internal Server Error", last=True)


def _status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status
