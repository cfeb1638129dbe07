"""One call as it came in, and the way back to its client."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from cacheproxy.gateway.errors import BodyTooLarge, EncodedBody, GatewayError
from cacheproxy.protocols.registry import Route
from metering.usage_event import UsageEvent, new_event_id

if TYPE_CHECKING:
    from cacheproxy.gateway.flight.work import Found
    from cacheproxy.gateway.telemetry.tally import Reason
    from cacheproxy.gateway.telemetry.tracing import CallTrace
    from cacheproxy.gateway.understanding import Ask

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
Answer = Callable[[int, list[Header], bytes], Awaitable[None]]
"""How a server of our own takes a whole answer in one step (`http/exchange.py`)."""

TICK_SECONDS = 0.05
"""A client is watched after one or two of these."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ClientGone(Exception):
    """The client hung up before its request was whole; there is nobody to answer."""


class Tape(Protocol):
    """Takes note of what is sent, even once there is nobody to receive it."""

    async def take(self, message: Message) -> None:
        """Take note of *message*, before it is sent."""

    async def break_off(self, problem: GatewayError, *, charged: bool) -> None:
        """Take note that *problem* is what will end a stream that has begun, charged for what came of it or not."""


class Call:
    """One call: when it came, what it asks, and how to answer it.

    ``event_id`` is the call's request id and the id of its (first) usage event. Once the client has gone, what
    is sent goes nowhere, so that work under way can end as it would have.
    """

    __slots__ = (
        "_answer",
        "_receive",
        "_send",
        "absence",
        "ask",
        "client",
        "ending",
        "event",
        "event_id",
        "found",
        "gone",
        "headers",
        "now",
        "now_ms",
        "path",
        "request_id",
        "route",
        "started",
        "started_ns",
        "status",
        "streamed_after_us",
        "taken_over",
        "tape",
        "trace",
    )

    def __init__(
        self,
        path: str,
        route: Route,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
        *,
        client: tuple[str, int] | None = None,
        answer: Answer | None = None,
    ) -> None:
        now_ns = time.time_ns()
        self.started_ns = time.perf_counter_ns()
        self.now_ms = now_ns // 1_000_000
        self.now = _EPOCH + timedelta(microseconds=now_ns // 1000)
        self.event_id: UUID = new_event_id(now_ns)
        self.request_id = str(self.event_id).encode()
        self.path = path
        self.route = route
        self.headers = headers
        self.client = client
        self.taken_over = False
        self.tape: Tape | None = None
        self.started = False
        self.gone = False
        self.ask: Ask | None = None
        """What it asks, once that is understood."""
        self.event: UsageEvent | None = None
        """Its (latest) usage event."""
        self.found: Found | None = None
        """The answer that the cache had for it."""
        self.absence: Reason | None = None
        """Why the cache had none, where the upstream was asked."""
        self.ending = "unmetered"
        """What stands for the outcome of a call without an event."""
        self.status = 0
        self.streamed_after_us: int | None = None
        """When the first byte of a stream left."""
        self.trace: CallTrace | None = None
        self._receive = receive
        self._send = send
        self._answer = answer

    @property
    def second_event_id(self) -> UUID:
        """The id of the other event of a call that has two; the same whenever the call is carried on."""
        return UUID(int=self.event_id.int ^ 1 << 40)

    def carry_on(self, event_id: UUID, now: datetime, *, taken_over: bool = False) -> None:
        """Be the call that came as *event_id* at *now*."""
        self.event_id = event_id
        self.request_id = str(event_id).encode()
        self.now = now
        self.taken_over = taken_over

    def elapsed_us(self) -> int:
        """Return the microseconds since the call came in."""
        return (time.perf_counter_ns() - self.started_ns) // 1000

    async def body(self, limit_bytes: int) -> bytes:
        """Return the request's body.

        Raises:
            EncodedBody: it is compressed.
            BodyTooLarge: it is, or says that it is, larger than *limit_bytes*; the rest is not read.
            ClientGone: the client hung up in the middle.
        """
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise EncodedBody
        if int(self.headers.get(b"content-length", b"0")) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            parts.append(_part(message))
            size += len(parts[-1])
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def wait_until_gone(self) -> None:
        """Return when the client has hung up. To be called after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True

    async def answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a whole answer. Its length and our request id are added to *headers*."""
        self.sign(status, headers)
        if self._answer is not None and self.tape is None:
            if not self.gone:
                await self._answer(status, headers, body)
            return
        headers.append((b"content-length", b"%d" % len(body)))
        await self._deliver({"type": "http.response.start", "status": status, "headers": headers})
        await self._deliver({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: list[Header]) -> None:
        """Send the head of an answer. Our request id is added to *headers*."""
        self.sign(status, headers)
        self.streamed_after_us = self.elapsed_us()
        await self._deliver({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, part: bytes, *, last: bool = False) -> None:
        """Send a part of the body."""
        await self._deliver({"type": "http.response.body", "body": part, "more_body": not last})

    def sign(self, status: int, headers: list[Header]) -> None:
        """Take note that the call is answered with *status*, and add its request id to *headers*."""
        self.started = True
        self.status = status
        headers.append((b"x-request-id", self.request_id))
        if name := self.route.dialect.id_header:
            headers.append((name, self.request_id))

    async def _deliver(self, message: Message) -> None:
        try:
            if self.tape is not None:
                await self.tape.take(message)
            if not self.gone:
                await self._send(message)
        except OSError:  # what ASGI servers raise once the client has hung up
            self.gone = True


def read_headers(raw: Sequence[Header]) -> Mapping[bytes, bytes]:
    """Return headers by name; what was said in several lines is one list (RFC 9110, section 5.2)."""
    headers = dict(raw)
    if len(headers) < len(raw):
        for name in headers:
            headers[name] = b", ".join([value for other, value in raw if other == name])
    return headers


class Watch:
    """Looks out for one client hanging up."""

    def __init__(self, call: Call, on_gone: Callable[[], None], lookout: "Lookout") -> None:
        self._call = call
        self._on_gone = on_gone
        self._lookout = lookout
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look())

    def stop(self) -> None:
        """Look no more."""
        self._lookout.forget(self)
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        await self._call.wait_until_gone()
        self._on_gone()


class Lookout:
    """Begins to watch those clients whose calls take a while; most are over before, and cost no task or timer."""

    def __init__(self) -> None:
        self._fresh: set[Watch] = set()
        self._waiting: set[Watch] = set()
        self._ticking = False

    def watch(self, call: Call, on_gone: Callable[[], None]) -> Watch:
        """Return a watch that calls *on_gone* when the client hangs up. To be used after the body was read."""
        watch = Watch(call, on_gone, self)
        self._fresh.add(watch)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        return watch

    def forget(self, watch: Watch) -> None:
        """Let a watch be over."""
        self._fresh.discard(watch)
        self._waiting.discard(watch)

    def _tick(self) -> None:
        for watch in self._waiting:
            watch.begin()
        self._waiting, self._fresh = self._fresh, set()
        self._ticking = bool(self._waiting)
        if self._ticking:
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)


def _part(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    part: bytes = message.get("body", b"")
    return part
