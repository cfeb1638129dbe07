"""From an answer to the client: what each of those who wait for it gets, pays and is told.

A leader's event was recorded before its result is here. Everybody else has a hit, whose event is recorded here,
before the last byte.
"""

import logging
from collections.abc import Callable, Sequence

from billing.money import ZERO
from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.call import Lookout
from cacheproxy.gateway.catalog.tariff import Tariff
from cacheproxy.gateway.errors import GatewayError
from cacheproxy.gateway.flight.freshness import suits
from cacheproxy.gateway.flight.work import Found, Led, Reworded, Work
from cacheproxy.gateway.idempotency import recorded
from cacheproxy.gateway.keeping import still_marked
from cacheproxy.gateway.limits.grants import NO_GRANT
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.pooling import hold_back, note_of_pool, pool_status
from cacheproxy.gateway.recording.event import Outcome, usage_event
from cacheproxy.gateway.recording.measure import Measured
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols import document
from cacheproxy.protocols.request import EVENT_STREAM, Answer, Header, StreamReader
from metering.usage_event import UsageEvent

logger = logging.getLogger(__name__)

TRY_AGAIN = frozenset({408, 409, 425, 429})
"""Of the 4xx, those that another call of the same content may not get."""


class LeaderFailed(Exception):
    """The call that this one listened to came to nothing that could be shared; nothing was sent yet.

    `problem` is how it failed, `result` what only its own client may have; neither: it found what is too old here.
    """

    def __init__(self, *, problem: GatewayError | None = None, result: Led | None = None) -> None:
        super().__init__()
        self.problem = problem
        self.result = result


class Delivery:
    """Gives clients what was found for them."""

    def __init__(self, recorder: Recorder, limits: Limits, metrics: Metrics) -> None:
        self._recorder = recorder
        self._limits = limits
        self._metrics = metrics
        self._lookout = Lookout()

    async def hit(self, ask: Ask, found: Found) -> None:
        """Answer from the cache, once the hit's event is durable.

        Raises:
            GatewayError: a limit refuses it, or it cannot be recorded; nothing was sent yet.
        """
        call, stored = ask.call, found.stored
        await hold_back(ask, stored)
        grant, charged = NO_GRANT, ZERO
        if ask.caller.rules is not None:
            charged = ask.tariff.charged(_outcome(found), stored.pools, stored.units)
            grant = await self._limits.admit_hit(ask, stored.pools, charged)
        try:
            await recorded(call, self._recorder.record(hit_event(ask, found)))
        except BaseException:  # whatever it was, no event came of it
            grant.release()
            raise
        grant.settle(stored.pools, charged)
        headers, answer = hit_answer(ask, found)
        await call.answer(200, [*headers, *self._limits.headers(ask)], answer.body)

    async def give(self, ask: Ask, led: Led) -> None:
        """Answer with what the upstream said to the leader."""
        headers, answer = led_answer(ask, led)
        await ask.call.answer(led.status, [*headers, *self._limits.headers(ask)], answer.body)

    def listen(self, work: Work, ask: Ask) -> Callable[[], None]:
        """Listen to *work* for one call; return what ends that. A client that hangs up ends it as well."""
        work.join()
        listener = _Listener(work)
        watch = self._lookout.watch(ask.call, listener.leave)

        def leave() -> None:
            watch.stop()
            listener.leave()

        return leave

    async def attend(self, work: Work, ask: Ask) -> None:
        """Listen to *work* for one call, and answer it.

        Raises:
            LeaderFailed: another call led, and came to nothing.
            GatewayError: this call led, and failed; nothing was sent yet.
        """
        leave = self.listen(work, ask)
        follows = ask is not work.leader
        self._metrics.coalesced_followers += follows
        try:
            await self._attend(work, ask)
        finally:
            self._metrics.coalesced_followers -= follows
            leave()

    async def _attend(self, work: Work, ask: Ask) -> None:
        reader = await self._relay(work, ask)
        leads = ask is work.leader
        try:
            result = await work.settled()
        except GatewayError as problem:
            if reader is not None:
                await self._break_off(work, ask, problem)
            elif leads:
                raise
            else:
                raise LeaderFailed(problem=problem) from problem
            return
        if reader is not None:
            await self._end_stream(work, ask, reader, result.stored)
        elif isinstance(result, Found) and (leads or suits(ask, result, ask.call.now_ms)):
            await self._share(ask, result)
        elif isinstance(result, Found):
            raise LeaderFailed
        elif leads or _is_final(result.status):
            await self.give(ask, result)
        elif result.stored is not None:
            await self._share(ask, Found(result.stored, "coalesced"))
        else:
            raise LeaderFailed(result=result)

    async def _relay(self, work: Work, ask: Ask) -> StreamReader | None:
        """Pass the stream on as it comes; return the reader that holds its end back, or None where nothing came."""
        if work.reader is None or ask.facts.as_kept:
            return None
        request, reader = ask.request(), work.reader
        if not request.stream:
            return None
        own = None
        if request.wants_usage != work.request.wants_usage:
            reader = own = ask.dialect.stream_reader(request)
        self._metrics.open_streams += 1
        try:
            async for part in work.parts(own):
                if not ask.call.started:
                    if ask.call.gone and not _leads(work, ask):
                        return None  # who has gone before the first of it came gets and pays nothing
                    await ask.call.start(200, [*_stream_headers(work, ask), *self._limits.headers(ask)])
                await ask.call.send(part)
        finally:
            self._metrics.open_streams -= 1
        return reader if ask.call.started else None

    async def _end_stream(
        self, work: Work, ask: Ask, reader: StreamReader, stored: StoredAnswer | None
    ) -> None:
        try:
            await self._record_shared_stream(work, ask, stored or work.used)
        except GatewayError as problem:
            await _send_error(work, ask, problem)
            return
        await ask.call.send(reader.tail(), last=True)

    async def _break_off(self, work: Work, ask: Ask, problem: GatewayError) -> None:
        """End a stream that has begun with the error, and record what was passed of it."""
        try:
            await self._record_shared_stream(work, ask, work.used)
        except GatewayError as failure:
            problem = failure
        await _send_error(work, ask, problem)

    async def _record_shared_stream(self, work: Work, ask: Ask, used: Measured | StoredAnswer | None) -> None:
        if used is not None and not _leads(work, ask):
            note = None if work.replaces is None else note_of_pool(ask, [work.replaces], None)
            event = usage_event(
                ask, used, outcome="coalesced", status=200, source_event=work.source_event, raw_usage=note
            )
            await recorded(ask.call, self._recorder.record(event))

    async def _share(self, ask: Ask, found: Found) -> None:
        """Give what was found to one who listened; who has gone before it came gets and pays nothing."""
        if not ask.call.gone:
            await self.hit(ask, found)


class _Listener:
    """Leaves a work once, however often it is told to."""

    def __init__(self, work: Work) -> None:
        self._work: Work | None = work

    def leave(self) -> None:
        if self._work is not None:
            self._work.leave()
            self._work = None


async def _send_error(work: Work, ask: Ask, problem: GatewayError) -> None:
    if ask.call.tape is not None:
        await ask.call.tape.break_off(problem, charged=work.used is not None)
    event = ask.dialect.stream_error(status=problem.status, code=problem.code, message=problem.message)
    await ask.call.send(event, last=True)


def _leads(work: Work, ask: Ask) -> bool:
    return ask is work.leader and not work.remote


def _is_final(status: int) -> bool:
    """Return whether everybody who asks the same will get this error."""
    return 400 <= status < 500 and status not in TRY_AGAIN


def _stream_headers(work: Work, ask: Ask) -> list[Header]:
    """Return the head of a stream. What it will cost is not known yet, so no cost headers."""
    if _leads(work, ask):
        return [*(work.head or (EVENT_STREAM,)), (b"cache-status", b"zerorate; fwd=" + ask.outcome.encode())]
    status = b"cache-status", b"zerorate; hit; detail=coalesced"
    if ask.facts.pool is not None:
        return [EVENT_STREAM, status]
    return [
        EVENT_STREAM,
        status,
        (b"age", b"0"),
        (b"x-zerorate-source", str(work.source_event).encode()),
    ]


def hit_event(ask: Ask, found: Found) -> UsageEvent:
    """Return the event of a hit; its call knows it from now on."""
    stored, reworded = found.stored, found.reworded
    ask.call.found = found
    if reworded is not None:
        return _reworded_event(ask, stored, reworded)
    return usage_event(
        ask,
        stored,
        outcome=_outcome(found),
        status=200,
        source_event=stored.source_event,
        raw_usage=_note(ask, found),
    )


def _reworded_event(ask: Ask, stored: StoredAnswer, reworded: Reworded) -> UsageEvent:
    usage, reworded.raw_usage = reworded.raw_usage, {}
    event = usage_event(
        ask,
        stored,
        outcome="semantic",
        status=200,
        source_event=stored.source_event,
        similarity=reworded.hit.similarity,
        raw_usage=document.write(usage) if usage else None,
    )
    reworded.given(event)
    return event


def hit_answer(ask: Ask, found: Found) -> tuple[list[Header], Answer]:
    """Return a hit's headers (the answer's own, where it comes from, its age, what it costs) and the answer.

    In a pool they do not say where it comes from, nor anything of when.
    """
    stored, now_ms = found.stored, ask.call.now_ms
    answer = Answer(stored.headers, stored.body)
    if not ask.facts.as_kept:
        answer = still_marked(ask.dialect.give(ask.request(), answer), stored)
    lasting = _lasting_headers(stored, ask.tariff, _outcome(found))
    if ask.facts.pool is not None:
        return [*answer.headers, pool_status(found), *lasting[1:], *ask.key_headers], answer
    headers = [
        *answer.headers,
        (b"cache-status", _hit_status(ask, found)),
        (b"age", b"%d" % stored.age_seconds(now_ms)),
        *lasting,
        *ask.key_headers,
    ]
    if found.reworded is not None:
        headers.append((b"x-zerorate-similarity", b"%.4f" % found.reworded.hit.similarity))
    return headers, answer


def led_answer(ask: Ask, led: Led) -> tuple[list[Header], Answer]:
    """Return the headers and the answer that the leader gets."""
    answer = led.answer
    if not ask.facts.as_kept and led.is_whole:
        answer = ask.dialect.give(ask.request(), answer)
    return [*answer.headers, *led.headers], answer


def _outcome(found: Found) -> Outcome:
    return "exact" if found.how == "stale" else found.how


def _hit_status(ask: Ask, found: Found) -> bytes:
    ttl_seconds = (found.stored.expires_at_ms - ask.call.now_ms) // 1000
    if found.how != "stale":
        return b"zerorate; hit; ttl=%d; detail=%b" % (ttl_seconds, found.how.encode())
    if found.because != "stale-if-error":
        return b"zerorate; hit; ttl=%d; detail=%b" % (ttl_seconds, found.because.encode())
    answered = b" fwd-status=%d;" % found.failure_status if found.failure_status else b""
    return b"zerorate; hit; fwd=stale;%b ttl=%d; detail=stale-if-error" % (answered, ttl_seconds)


def _note(ask: Ask, found: Found) -> bytes | None:
    """Return what the event says of a stale answer, and why it was given; of any other, what its rules say."""
    note = ask.facts.rules.note if found.how != "stale" else _stale_note(ask, found)
    return note_of_pool(ask, [found.stored], note) if found.stored.paid_by else note


def _stale_note(ask: Ask, found: Found) -> bytes:
    age_seconds = found.stored.age_seconds(ask.call.now_ms)
    note: dict[str, int | None] = {"age_seconds": age_seconds}
    if found.because == "stale-if-error":
        note["upstream_status"] = found.failure_status or None
    return document.write({found.because.replace("-", "_"): note})


def _lasting_headers(stored: StoredAnswer, tariff: Tariff, outcome: Outcome) -> Sequence[Header]:
    """Return the headers of a hit that stay the same until a price changes; worked out once per answer and tariff.

    The first is the source.
    """
    if stored.memo is None or stored.memo[:2] != (tariff, outcome):
        source = (b"x-zerorate-source", str(stored.source_event).encode())
        stored.memo = tariff, outcome, [source, *tariff.cost_headers((outcome, stored.pools, stored.units))]
    headers: Sequence[Header] = stored.memo[2]
    return headers
