"""One question on its way to an answer, and everybody who waits for that answer.

A work belongs to the gateway, not to a client: its first asker leads it, and identical questions that come
while it is under way listen to it too. Whoever hangs up, the others go on; when nobody is left the upstream is
still read for a while (the plan says how long), so that its own count of tokens arrives and the answer can be
kept.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.errors import GatewayError
from cacheproxy.gateway.recording.measure import Measured
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols.request import Answer, Header, InferenceRequest, StreamReader
from cacheproxy.semantic.finding import Finding, SemanticHit
from metering.tokens import TokenPools
from metering.usage_event import UsageEvent

Stale = Literal["stale-if-error", "stale-while-revalidate", "max-stale"]
"""Why an expired answer is given: its upstream fails, it is being asked again, or its client takes it as it is."""
Part = tuple[str, TokenPools, int]
"""An outcome, and the pools and units that have it."""


class Led(NamedTuple):
    """The upstream was asked on the leader's behalf, the event is durable, and this is what the leader gets."""

    status: int
    answer: Answer
    """Plain, even where the leader asked for a stream."""
    headers: Sequence[Header]
    """Beside the answer's own: where it came from and what it cost the leader."""
    stored: StoredAnswer | None
    """What those who listen may have; None where it is not fit to be shared."""
    parts: Sequence[Part] = ()
    """What it took: one part, or two where a batch was in part a hit."""
    kept: Sequence[tuple[bytes, StoredAnswer]] = ()
    """What memory has by now and the other tiers are to have, by key."""
    is_whole: bool = False
    """Whether it is a complete answer, which the dialect can give in another form."""


class Reworded:
    """A semantic hit on its way to those who get it: the same for all of them, but for who pays for the look-up."""

    __slots__ = ("_events", "_tell", "hit", "raw_usage")

    def __init__(self, hit: SemanticHit, raw_usage: Mapping[str, Any]) -> None:
        self.hit = hit
        self.raw_usage = raw_usage
        """What the look-up took; of the first event only."""
        self._events: list[UsageEvent] = []
        self._tell: Callable[[UsageEvent], None] | None = None

    def given(self, event: UsageEvent) -> None:
        """Take note that a call is given it, which *event* says."""
        self._events.append(event)
        if self._tell is not None:
            self._tell(event)

    def prove_wrong(self, tell: Callable[[UsageEvent], None]) -> None:
        """Have *tell* told of every call that was given it, or will be."""
        self._tell = tell
        for event in self._events:
            tell(event)


class Found(NamedTuple):
    """Nobody had to be asked: every listener, the first among them, has a hit."""

    stored: StoredAnswer
    how: Literal["exact", "coalesced", "stale", "semantic"]
    failure_status: int = 0
    """Of the upstream's answer, where that is why a stale one is given; 0 where it gave none."""
    tier: Literal["memory", "redis"] = "memory"
    """Where an exact one was found."""
    because: Stale = "stale-if-error"
    """Of a stale one."""
    reworded: Reworded | None = None
    """Of a semantic one."""


Result = Led | Found


class Work:
    """The state of one question. `run` by one task; listened to by as many calls as asked it."""

    __slots__ = (
        "_drain",
        "_drain_seconds",
        "_drain_tokens",
        "_events_unheard",
        "_given_up",
        "_listeners",
        "_passed",
        "_reading",
        "_stopped",
        "_waiting",
        "chunks",
        "finding",
        "head",
        "leader",
        "on_chunk",
        "on_end",
        "reader",
        "remote",
        "replaces",
        "request",
        "result",
        "shared",
        "source_event",
        "task",
        "used",
    )

    def __init__(
        self, leader: Ask, request: InferenceRequest, *, drain_seconds: float, drain_tokens: int
    ) -> None:
        self.leader = leader
        self.request = request
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.reader: StreamReader | None = leader.dialect.stream_reader(request) if request.stream else None
        self.source_event = leader.call.event_id
        """The event that pays: the leader's, here or in another gateway."""
        self.shared = False
        """Whether identical calls may listen to it."""
        self.remote = False
        """Whether another gateway leads."""
        self.replaces: StoredAnswer | None = None
        """The answer that calls still get, where this work is to replace it."""
        self.head: tuple[Header, ...] | None = None
        self.used: Measured | None = None
        """What the answer took, as far as it came; None while nothing is known, or where it was found."""
        self.finding: Finding | None = None
        """What came of looking for its question in other words, where that was done."""
        self.chunks: list[bytes] = []
        self.on_chunk: Callable[[bytes], None] | None = None
        self.on_end: Callable[[], None] | None = None
        """Called as soon as there is a result, before anything else is done."""
        self._passed: list[bytes] = []
        self._listeners = 0
        self._events_unheard = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.task: asyncio.Task[None] | None = None
        """Which does the work."""
        self._reading = False
        self._given_up = False
        self._stopped = False
        self._drain: asyncio.TimerHandle | None = None
        self._drain_seconds = drain_seconds
        self._drain_tokens = drain_tokens

    # -- the side of the worker ------------------------------------------------------------------------------

    def begin_reading(self) -> bool:
        """Say that the upstream is read from now on, until `heard_out`; False where nobody wants that any more."""
        self._reading = not self._given_up
        return self._reading

    def heard_out(self) -> None:
        """Say that the upstream is through: nobody's patience matters any more."""
        self._reading = False

    @property
    def is_reading(self) -> bool:
        """Whether the upstream is being read."""
        return self._reading

    def was_broken_off(self) -> bool:
        """Return whether it was `break_off` that cancelled the task just now; the task goes on then."""
        return self._stopped and self.task is not None and not self.task.uncancel()

    def break_off(self) -> None:
        """Read the upstream no further, whoever listens."""
        self._given_up = True
        if self._reading and self.task is not None:
            self._reading, self._stopped = False, True
            self.task.cancel()

    def begin(self, head: tuple[Header, ...]) -> None:
        """Say what kind of stream comes."""
        self.head = head

    def feed(self, chunk: bytes) -> bool:
        """Take in a part of the stream and hand it on; return whether its closing event has come."""
        assert self.reader is not None
        self.chunks.append(chunk)
        self._passed.append(self.reader.feed(chunk))
        if self.on_chunk is not None:
            self.on_chunk(chunk)
        self._tell()
        if not self._listeners:
            self._count_unheard(chunk)
        return self.reader.finished

    def end(self, result: Result) -> None:
        """Give the result to everybody."""
        self.result.set_result(result)
        self._end_drain()
        self._tell()

    def fail(self, problem: GatewayError) -> None:
        """Tell everybody that there is none."""
        self.result.set_exception(problem)
        self.result.exception()  # perhaps nobody listens any more, and that is no error
        self._end_drain()
        self._tell()

    @property
    def begun(self) -> bool:
        """Whether a part of the answer was passed to whoever listens."""
        return any(self._passed)

    @property
    def found(self) -> Found | None:
        """What there was without asking anybody, once the work has ended with that."""
        result = None if not self.result.done() or self.result.exception() else self.result.result()
        return result if isinstance(result, Found) else None

    @property
    def is_deserted(self) -> bool:
        """Whether nobody listens any more."""
        return not self._listeners

    @property
    def ended(self) -> bool:
        """Whether the stream's closing event has come."""
        return self.reader is not None and self.reader.finished

    # -- the side of the listeners ---------------------------------------------------------------------------

    def join(self) -> None:
        """Listen."""
        self._listeners += 1
        self._given_up = False
        self._end_drain()

    def leave(self) -> None:
        """Stop listening. When nobody does, the upstream is read on for as long as the leader's plan says."""
        self._listeners -= 1
        if not self._listeners and not self.result.done():
            loop = asyncio.get_running_loop()
            self._drain = loop.call_later(self._drain_seconds, self._give_up)

    async def parts(self, reader: StreamReader | None) -> AsyncIterator[bytes]:
        """Yield what may go to a client, from the start and then as it comes, until the work has ended.

        *reader* is the listener's own where it wants another view of the stream than the leader.
        """
        place = 0
        while True:
            if place < len(self.chunks):
                if reader is None:
                    part = b"".join(self._passed[place:])
                else:
                    part = b"".join([reader.feed(chunk) for chunk in self.chunks[place:]])
                place = len(self.chunks)
                if part:
                    yield part
                continue
            if self.result.done():
                return
            await self._news()

    async def settled(self) -> Result:
        """Return the result.

        Raises:
            GatewayError: there is none.
        """
        while not self.result.done():
            await self._news()
        return self.result.result()

    def _count_unheard(self, chunk: bytes) -> None:
        self._events_unheard += chunk.count(b"\n\n")  # servers send one event a token, or nearly so
        if self._events_unheard > self._drain_tokens:
            self._give_up()

    def _end_drain(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None

    def _give_up(self) -> None:
        if not self._listeners:
            self.break_off()

    def _news(self) -> asyncio.Future[None]:
        news = asyncio.get_running_loop().create_future()
        self._waiting.append(news)
        return news

    def _tell(self) -> None:
        if self.on_end is not None and self.result.done():
            self.on_end()
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            if not news.done():
                news.set_result(None)
