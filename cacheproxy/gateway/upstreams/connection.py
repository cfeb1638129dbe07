"""One connection to a model server: HTTP/1.1 as httptools reads it, one call at a time.

A call leaves in one write; of a large body no more is handed over at once than the connection takes. What comes
back is bounded in its head, its body and what nobody has read yet, and one timer watches over whichever limit
holds: it is armed for the first of them and, when it fires, looks at what became of that.

An answer belongs to its call for certain or the connection is not used again: not after a byte that nobody asked
for, an answer that overtook its call, ``Connection: close``, HTTP/1.0 without ``keep-alive``, or a HEAD.
"""

import asyncio
from contextvars import Context
from math import inf
from typing import Literal, cast

import httptools

from cacheproxy.protocols.request import Header

MAX_HEAD_BYTES = 65_536
"""Of an answer's head, of those of the 1xx before it, and of what else comes between two parts of its body."""
MAX_HEADERS = 256
MAX_UNREAD_BYTES = 262_144
"""Of a body that comes faster than it is read; then the server has to wait."""
WHOLE_BYTES = 1 << 20
"""A larger body is written part by part."""
PART_BYTES = 1 << 18

PASSED_HEADERS = frozenset(
    b"content-type content-language inference-header-content-length retry-after retry-after-ms".split()
)
"""What of an upstream's headers reaches the client. The rest speaks of the operator's account, or is only ever
true of a miss."""


_NO_CALL = Context()
"""A timer outlives the call that armed it, and must not keep it."""

Limit = Literal["first_byte", "idle", "total"]


class Failure(Exception):
    """Why there is no answer, or no whole one. The message is for the log and quotes nothing of the answer."""


class Lost(Failure):
    """The connection ended too early."""


class Garbled(Failure):
    """What came is not HTTP, or not within the bounds of a head."""


class TooLarge(Failure):
    """The body is larger than an answer may be."""


class Late(Failure):
    """A time limit ran out."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(f"the time limit {limit} ran out")
        self.limit = limit


class Connection(asyncio.Protocol):
    """``send``, ``head``, then ``part`` until it is empty, or ``rest``; then either the next call or ``abort``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_body_bytes: int, listed_in: set["Connection"]
    ) -> None:
        self._loop = loop
        self._max_body_bytes = max_body_bytes
        self._listed_in = listed_in
        self._parser = httptools.HttpResponseParser(self)
        self._deadline = self._timer_at = inf
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Failure | None = None
        self._unsent = memoryview(b"")
        self._stuck = False  # the transport takes nothing for the moment
        self._parts: list[bytes] = []
        self.under_way = False
        """Whether a call is."""
        self.headers: list[Header] = []
        """Of the answer, those that are passed on."""
        self.coding = b""
        """Its content encoding, where it states one."""
        self._header_count = self._header_bytes = 0
        self.whole = False
        """Whether its answer has come to the end."""
        self.reading_paused = False
        """Whether the server has to wait for the reader."""
        self.idle_since = 0.0
        self.lost = asyncio.Event()

    # -- what a call asks for --------------------------------------------------------------------------------

    def send(
        self,
        head: bytes,
        body: bytes,
        *,
        first_byte_seconds: float,
        idle_seconds: float,
        give_up_at: float,
        bodyless: bool,
    ) -> None:
        """Send a call, whose answer is whole by *give_up_at* of the loop's clock, or there is none.

        It has no body where it is *bodyless*: the call is a HEAD.
        """
        self.under_way, self.whole = True, False
        self.status = self._framing_bytes = self._received_bytes = self._unread_bytes = 0
        self._bodyless = bodyless
        self._waits_for_end = self._keep_alive = False
        self._begin_head()
        self._first_byte_seconds, self._idle_seconds = first_byte_seconds, idle_seconds
        self._give_up_at = give_up_at
        self._expect_within(first_byte_seconds)
        if len(body) <= WHOLE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._unsent = memoryview(body)
            self._push()

    async def head(self) -> None:
        """Return once the head has come: ``status`` and ``headers``.

        Raises:
            Lost, Garbled, Late: it will not.
        """
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._news()

    async def part(self) -> bytes:
        """Return what has come of the body since the last part, nothing at its end.

        Raises:
            Failure: the rest will not come.
        """
        while not self._parts:
            if self._failure is not None:
                raise self._failure
            if self.whole:
                return b""
            await self._news()
        return self._taken()

    async def rest(self) -> bytes:
        """Return what of the body was not read yet, once it has come to its end: nobody is woken before.

        Raises:
            Failure: it will not.
        """
        self._waits_for_end = True
        self._read_on()
        while not self.whole and self._failure is None:
            await self._news()
        if self._failure is not None:
            raise self._failure
        return self._taken()

    @property
    def due(self) -> bool:
        """Whether an answer is, or the rest of one."""
        return self.under_way and not self.whole

    @property
    def usable(self) -> bool:
        """Whether the next call may be sent: all of the last one went out, all of its answer came, and no more."""
        return (
            not self._transport.is_closing()
            and self._failure is None
            and (not self.under_way or (self.whole and self._keep_alive))
            and not self._unsent
            and not self._transport.get_write_buffer_size()
        )

    def go_idle(self, now: float) -> None:
        """Wait for the next call, from *now* on."""
        self.under_way, self.idle_since = False, now
        self._parts.clear()
        self._read_on()
        self._deadline = inf

    def abort(self) -> None:
        """Close the connection, whatever is under way."""
        self._fail(Lost("given up"))

    # -- what the transport tells ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._listed_in.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came; what nobody asked for ends the connection."""
        if not self.due:
            self._transport.abort()
            return
        self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as problem:
            cause = problem.__context__
            if not self.whole:
                self._fail(cause if isinstance(cause, Failure) else Garbled(f"not HTTP/1.1: {problem}"))
                return
            self._transport.abort()  # what follows a whole answer belongs to no call
        if self.whole:
            self._deadline = inf
            self._wake()
        elif self._framing_bytes > MAX_HEAD_BYTES:
            self._fail(Garbled("the head, or what stands between two parts, is too long"))
        elif self.status:
            self._more_to_come()

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, problem: Exception | None) -> None:
        """End the answer, or tell that it broke off."""
        if self.under_way and self.status and self._until_close and problem is None and self._failure is None:
            self.whole = True
            self._wake()
        elif not self.whole:
            self._fail(Lost(str(problem) if problem else "the server closed the connection"))
        self._drop_timer()
        del self._parser  # which refers to this
        self._listed_in.discard(self)
        self.lost.set()

    def pause_writing(self) -> None:
        """Hand over no more of the body for the moment."""
        self._stuck = True

    def resume_writing(self) -> None:
        """Hand over more of the body; the time until now was not the server's."""
        self._stuck = False
        if self._unsent:
            if not self.status:
                self._expect_within(self._first_byte_seconds)
            self._push()

    # -- what the parser finds -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse a second answer to one call."""
        if self.whole:
            raise Garbled("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that is read; what comes after a chunked body is none."""
        if self.status:
            return
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        if self._header_count > MAX_HEADERS or self._header_bytes > MAX_HEAD_BYTES:
            raise Garbled("too many headers, or too long ones")
        name = name.lower()
        if name in PASSED_HEADERS:
            self.headers.append((name, value))
        elif name == b"content-length":
            self._until_close = False
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise Garbled("a transfer encoding that was not asked for")
            self._until_close = False
        elif name == b"content-encoding":
            self.coding = value

    def on_headers_complete(self) -> None:
        """Begin the answer; what announces another one (1xx) is passed over."""
        status = self._parser.get_status_code()
        if status == 101:
            raise Garbled("another protocol was chosen")
        if status < 200:
            self._begin_head()
            return
        self.status = status
        self._keep_alive = self._parser.should_keep_alive() and not self._bodyless
        self.whole = self._bodyless

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        if self.whole:
            raise Garbled("a body where there is none")
        self._framing_bytes = 0
        self._received_bytes += len(part)
        if self._received_bytes > self._max_body_bytes:
            raise TooLarge
        self._unread_bytes += len(part)
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """End the answer."""
        if self.status:
            self.whole = True

    # -- within ----------------------------------------------------------------------------------------------

    def _begin_head(self) -> None:
        self.headers = []
        self.coding = b""
        self._header_count = self._header_bytes = 0
        self._until_close = True

    def _more_to_come(self) -> None:
        if self._waits_for_end:
            self._expect_within(self._idle_seconds)
            return
        if self._unread_bytes > MAX_UNREAD_BYTES and not self.reading_paused:
            self.reading_paused = True
            self._deadline = self._give_up_at  # the time until then is the reader's
            self._transport.pause_reading()
        elif not self.reading_paused:
            self._expect_within(self._idle_seconds)
        self._wake()

    def _taken(self) -> bytes:
        parts, self._parts = self._parts, []
        self._unread_bytes = 0
        self._read_on()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_on(self) -> None:
        if self.reading_paused:
            self.reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
                self._expect_within(self._idle_seconds)

    def _push(self) -> None:
        """Hand over as much of the body as the transport takes."""
        while self._unsent and not self._stuck and not self._transport.is_closing():
            part, self._unsent = self._unsent[:PART_BYTES], self._unsent[PART_BYTES:]
            self._transport.write(part)

    def _news(self) -> asyncio.Future[None]:
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
            self._unsent = memoryview(b"")
            self._drop_timer()
            self._transport.abort()
            self._wake()

    def _expect_within(self, seconds: float) -> None:
        """Let the connection fail unless something comes within *seconds*."""
        self._deadline = min(self._loop.time() + seconds, self._give_up_at)
        if self._deadline < self._timer_at:
            self._drop_timer()
            self._arm()

    def _arm(self) -> None:
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._look, context=_NO_CALL)

    def _look(self) -> None:
        """Fail if the limit that holds now has run out, otherwise look again when it will have."""
        self._timer, self._timer_at = None, inf
        if self._deadline <= self._loop.time():
            self._fail(Late(self._limit()))
        elif self._deadline < inf:
            self._arm()

    def _limit(self) -> Limit:
        """Return which limit it is that has run out."""
        if self._deadline == self._give_up_at:
            return "total"
        return "idle" if self.status else "first_byte"

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, inf
