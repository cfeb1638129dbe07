"""What upstreams are asked though no client waits for it: answers refreshed ahead, hits that are checked.

Nobody called, so there is no usage event, and no limit counts it: the upstream's bill is its operator's (ADR 0030),
and what it came to is in the metrics. It takes only room that calls have no need of: so many at once, and no more
while an upstream of the model has half its places taken.

    if background.has_room(model):
        background.begin(Work(unasked(ask, paid_by), …), run)
    …and in run: fresh = await background.compute(work, "refresh")
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple
from uuid import UUID

from cacheproxy.gateway.call import Call, Message
from cacheproxy.gateway.catalog.catalog import Model
from cacheproxy.gateway.controls import PLAIN
from cacheproxy.gateway.flight.asking import (
    exchange,
    failure,
    kept_part,
    passed_headers,
    read,
    usage_of,
    usage_so_far,
)
from cacheproxy.gateway.flight.work import Led, Work
from cacheproxy.gateway.recording.measure import Measured
from cacheproxy.gateway.telemetry.current import current_call
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.understanding import Ask
from cacheproxy.gateway.upstreams.errors import UpstreamBroken, UpstreamError
from cacheproxy.gateway.upstreams.exchange import UpstreamAnswer
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols.request import JSON, Answer, Header

Purpose = Literal["refresh", "check"]
Run = Callable[[Work], Awaitable[None]]


class Fresh(NamedTuple):
    """What an upstream answered, recorded and kept nowhere."""

    status: int
    answer: Answer
    """Plain, even where a stream was asked for."""
    passed: list[Header]
    """Headers that are not the answer's own."""
    parsed: Any
    measured: Measured
    is_whole: bool
    """Whether it is a complete and successful answer."""
    took_us: int


class Background:
    """The works of one process that no client waits for."""

    def __init__(self, upstreams: Upstreams, metrics: Metrics, *, at_once: int) -> None:
        self._upstreams = upstreams
        self._metrics = metrics
        self._at_once = at_once
        self._works: dict[asyncio.Task[None], Work] = {}

    def has_room(self, model: Model) -> bool:
        """Return whether one more would be in no call's way."""
        return len(self._works) < self._at_once and self._upstreams.have_room(model)

    def begin(self, work: Work, run: Run) -> None:
        """Have *run* bring *work*, whose leader is `unasked`, to its end."""
        work.join()  # the process itself listens, to the end
        task = work.task = asyncio.create_task(_under_way(work, run))
        self._works[task] = work
        task.add_done_callback(self._works.pop)

    async def compute(self, work: Work, purpose: Purpose) -> Fresh | Led:
        """Return what the upstream answers to *work*, and count what it took; a Led is its error, to be passed on.

        Raises:
            UpstreamError: it failed, or its answer is none.
            Overloaded, UpstreamNotConfigured: it was not asked.
        """
        ask, started_ns = work.leader, time.perf_counter_ns()
        try:
            got = await exchange(self._upstreams, work, work.request)
            if got is not None and not got.ok:
                return failure(ask, got)
            status, passed, answer = _whole(work, got)
        except UpstreamError:
            work.used = usage_so_far(work)
            self._count(work, purpose)
            raise
        took_us = (time.perf_counter_ns() - started_ns) // 1000
        parsed = read(ask, work.request, answer)
        is_whole = status == 200 and ask.dialect.is_answer(work.request, parsed)
        work.used = usage_of(ask, work.request, parsed, complete=is_whole)
        self._count(work, purpose)
        return Fresh(status, answer, passed, parsed, work.used, is_whole, took_us)

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        while self._works:
            await asyncio.wait(self._works)

    def close(self) -> None:
        """Begin nothing any more."""
        self._at_once = 0

    def break_off(self) -> None:
        """Read no upstream any further."""
        for task, work in self._works.items():
            if work.is_reading:
                work.break_off()
            else:
                task.cancel()

    def _count(self, work: Work, purpose: Purpose) -> None:
        if work.used is not None:
            self._metrics.background_took(work.leader.facts.model.name, purpose, work.used.pools)


def unasked(ask: Ask, source_event: UUID) -> Ask:
    """Return *ask* as nobody's call, which the event *source_event* has paid for as far as hits are concerned."""
    old, own = ask.call, ask.controls
    call = Call(old.path, old.route, old.headers, _hear_nothing, _say_nothing)
    call.carry_on(source_event, call.now)
    call.gone = True
    controls = PLAIN._replace(session=own.session, namespace=own.namespace, ttl_seconds=own.ttl_seconds)
    return ask._replace(call=call, controls=controls)


def _whole(work: Work, got: UpstreamAnswer | None) -> tuple[int, list[Header], Answer]:
    """Return status, passed headers and answer, of a stream as well.

    Raises:
        UpstreamBroken: the stream came to none.
    """
    if got is not None:
        return got.status, passed_headers(work.leader, got), kept_part(work.leader, got)
    body = work.reader.answer() if work.reader is not None else None
    if body is None:
        raise UpstreamBroken
    return 200, [], Answer((JSON,), body)


async def _under_way(work: Work, run: Run) -> None:
    current_call.set(work.leader.call)
    await run(work)


async def _hear_nothing() -> Message:
    return {"type": "http.disconnect"}


async def _say_nothing(_message: Message) -> None:
    """Nobody is there to be told."""
