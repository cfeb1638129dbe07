"""A question that memory cannot answer: meet those who ask it too, else ask the upstream, record, share.

Which calls end in an event: every one that was given an answer, whole or in part, and every one for which the
upstream reports usage. A call that failed with nothing to show for it (refused, timed out, answered with an
error) writes none and costs nothing.

The order is always: commit the event, then share the answer (which names the event as its source), then send
the last byte; the way to Redis is nobody's to wait for.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any

import msgspec

from billing.money import ZERO
from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.sightings import Sightings
from cacheproxy.cache.tiers import Tiers
from cacheproxy.gateway.errors import GatewayError, InternalError, NobodyWaits, NotCached
from cacheproxy.gateway.flight.absences import Absences
from cacheproxy.gateway.flight.batches import Batches, Computed
from cacheproxy.gateway.flight.coalescing import Coalescing
from cacheproxy.gateway.flight.refusals import Refusals
from cacheproxy.gateway.flight.work import Found, Led, Part, Result, Work
from cacheproxy.gateway.idempotency import recorded
from cacheproxy.gateway.keeping import to_keep
from cacheproxy.gateway.limits.grants import NO_GRANT, Grant
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.recording.event import usage_event
from cacheproxy.gateway.recording.measure import Measured, measure
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.telemetry.current import step
from cacheproxy.gateway.understanding import Ask
from cacheproxy.gateway.upstreams.errors import UpstreamBroken, UpstreamError, UpstreamNotConfigured
from cacheproxy.gateway.upstreams.exchange import END_SECONDS, Exchange, UpstreamAnswer
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols.request import JSON, Answer, Header, InferenceRequest
from metering.tokens import TokenPools

logger = logging.getLogger(__name__)

_decode = msgspec.json.Decoder().decode

FAILURES = frozenset({429, 500, 502, 503, 504, 529})
"""Answers of an upstream for which a stale one may stand in (RFC 5861, section 4, and being turned away)."""


class Misses:
    """Answers questions from the upstream, once each."""

    def __init__(
        self,
        upstreams: Upstreams,
        tiers: Tiers,
        recorder: Recorder,
        coalescing: Coalescing,
        limits: Limits,
        sightings: Sightings,
    ) -> None:
        self.refusals = Refusals()
        self._absences = Absences(tiers.memory)
        self._batches = Batches(tiers, recorder, sightings, self._absences)
        self._sightings = sightings
        self._upstreams = upstreams
        self._tiers = tiers
        self._recorder = recorder
        self._coalescing = coalescing
        self._limits = limits

    async def run(self, work: Work) -> None:
        """Bring *work* to its end, then let those outside this process know. Never raises."""
        try:
            result = await self._result(work)
        except GatewayError as problem:
            work.fail(problem)
        except Exception:  # a bug of ours: the clients get a proper answer, the log the trace
            logger.exception("The call %s failed inside the gateway.", work.leader.call.event_id)
            work.fail(InternalError())
        else:
            self.refusals.note(work.leader, result, _now_ms())
            work.end(result)
        await self._coalescing.settle(work)

    async def _result(self, work: Work) -> Result:
        try:
            found = await step(work.leader.call, "look-up", self._coalescing.meet(work))
        except UpstreamError:
            work.used = _partial(work)
            raise
        if found is None and work.is_deserted:
            raise NobodyWaits
        return found or await self._lead_or_stand_in(work)

    async def _lead_or_stand_in(self, work: Work) -> Result:
        """Ask the upstream; where it fails, give an expired answer if the model's policy allows one."""
        try:
            result = await self._lead(work)
        except UpstreamError:
            stale = None if work.begun else await self._stale(work.leader, 0)
            if stale is None:
                raise
            return stale
        if result.status in FAILURES:
            return await self._stale(work.leader, result.status) or result
        return result

    async def _stale(self, ask: Ask, failure_status: int) -> Found | None:
        seconds = ask.facts.rules.policy.stale_if_error_seconds
        if not seconds or not ask.may_read or ask.facts.key is None:
            return None
        stored = await self._tiers.get_stale(ask.facts.key, _now_ms(), seconds)
        if stored is None or ask.has_ended(stored):
            return None
        return Found(stored, "stale", failure_status)

    async def _lead(self, work: Work) -> Led:
        """Ask the upstream, within the caller's limits.

        Raises:
            GatewayError: it failed, or a limit refuses it.
        """
        ask = work.leader
        grant = await self._limits.admit(ask)
        parts: Sequence[Part] = ()
        try:
            result = await self._ask(work)
            parts = result.parts
        except UpstreamError:
            if work.used is not None:
                parts = [(ask.outcome, work.used.pools, work.used.units)]
            raise
        finally:
            if grant is not NO_GRANT:
                _settle(grant, ask, parts)
        return result

    async def _ask(self, work: Work) -> Led:
        batch = work.leader.batch(work.request)
        if batch is not None:
            return await self._batches.lead(work.leader, batch, partial(self._compute, work))
        self._absences.explain(work.leader, work.leader.facts.key)
        started_ns = time.perf_counter_ns()
        try:
            answer = await self._exchange(work, work.request)
        except UpstreamError:
            if work.begun:
                await self._record_partial(work, _since_us(started_ns))
            raise
        upstream_us = _since_us(started_ns)
        if answer is None:
            return await self._end_stream(work, upstream_us)
        if answer.ok:
            return await self._end_plain(work, answer, upstream_us)
        return _failure(work.leader, answer)

    async def _compute(self, work: Work, request: InferenceRequest) -> Computed | Led:
        """Return what the upstream gives for some items of a batch; a failure as it is to be passed on.

        Raises:
            NotCached: the client wants to have nothing computed.
            UpstreamError: the upstream failed, or its answer is none.
        """
        ask, started_ns = work.leader, time.perf_counter_ns()
        if ask.controls.only_if_cached:
            raise NotCached
        upstream_answer = await self._exchange(work, request)
        assert upstream_answer is not None, "batches are not streamed"
        upstream_us = _since_us(started_ns)
        if not upstream_answer.ok:
            return _failure(ask, upstream_answer)
        parsed = _read(ask, request, _kept_part(ask, upstream_answer))
        if not ask.dialect.is_answer(request, parsed):
            raise UpstreamBroken
        measured = _measure(ask, request, parsed, complete=True)
        passed = _passed(ask, upstream_answer)
        return Computed(upstream_answer.status, passed, parsed, measured, upstream_us)

    async def _exchange(self, work: Work, request: InferenceRequest) -> UpstreamAnswer | None:
        """Return the upstream's answer; None where it was a stream, which *work* has by now."""
        ask = work.leader
        model = ask.facts.model
        agent = ask.call.headers.get(b"user-agent", b"").decode("latin-1") or None
        compose = partial(ask.dialect.upstream_call, request)
        if not work.begin_reading():
            raise UpstreamBroken
        try:
            async with self._upstreams.exchange(model, compose, agent) as exchange:
                if work.reader is None or not (exchange.is_stream and exchange.status == 200):
                    return await exchange.read()
                await _stream(work, exchange)
                return None
        except asyncio.CancelledError as stop:
            if work.was_broken_off():  # everybody has gone, and so has the time to read on
                raise UpstreamBroken from stop
            raise
        finally:
            work.heard_out()

    async def _end_plain(self, work: Work, upstream_answer: UpstreamAnswer, upstream_us: int) -> Led:
        ask = work.leader
        passed = _passed(ask, upstream_answer)
        answer = _kept_part(ask, upstream_answer)
        return await self._conclude(work, upstream_answer.status, answer, passed, upstream_us)

    async def _end_stream(self, work: Work, upstream_us: int) -> Led:
        """Conclude what was streamed, but for its end, which the listeners hold back until then."""
        assert work.reader is not None
        whole = work.reader.answer()
        if whole is None:
            await self._record_partial(work, upstream_us)
            return Led(200, Answer((), b""), (), None)
        return await self._conclude(work, 200, Answer((JSON,), whole), [], upstream_us)

    async def _conclude(
        self, work: Work, status: int, answer: Answer, passed: list[Header], upstream_us: int
    ) -> Led:
        """Record what an answer took, keep it where it is fit for that, and return what the leader gets."""
        ask, dialect = work.leader, work.leader.dialect
        parsed = _read(ask, work.request, answer)
        complete = dialect.is_answer(work.request, parsed)
        measured = _measure(ask, work.request, parsed, complete=complete)
        if not complete and measured.quality == "estimated" and not work.begun:
            return Led(status, answer, [*passed, _cache_status(ask)], None)
        recording = self._record(ask, measured, upstream_us, status)
        to_share = await to_keep(ask, parsed, answer) if complete and status == 200 else None
        shared = None if to_share is None else _shared(ask, measured, to_share)
        kept = []
        key = ask.facts.key
        lasts = shared is not None and dialect.lasts(work.request, parsed)
        if lasts and shared is not None and key is not None and await self._admits(ask, key):
            kept = [(key, shared)]
        part = (ask.outcome, measured.pools, measured.units)
        headers = [
            *passed,
            _cache_status(ask, stored=bool(kept)),
            *ask.key_headers,
            *ask.tariff.cost_headers(part),
        ]
        await recording
        work.used = measured
        for item in kept:
            self._tiers.memory.put(*item)
        return Led(status, answer, headers, shared, [part], kept, is_whole=complete)

    async def _admits(self, ask: Ask, key: bytes) -> bool:
        """Return whether the policy keeps the answer now, or when it is asked for again."""
        return ask.facts.rules.policy.admit_after == 1 or await self._sightings.again(key, _now_ms())

    async def _record_partial(self, work: Work, upstream_us: int) -> None:
        """Record what was streamed of an answer that is not whole, where it says anything."""
        work.used = _partial(work)
        if work.used is not None:
            await self._record(work.leader, work.used, upstream_us, 200)

    def _record(self, ask: Ask, measured: Measured, upstream_us: int, status: int) -> Awaitable[None]:
        """Hand the event over; what is returned ends when it is durable, or raises why it is not."""
        event = usage_event(
            ask,
            measured,
            outcome=ask.outcome,
            status=status,
            upstream_latency_us=upstream_us,
            raw_usage=measured.raw_usage,
        )
        return recorded(ask.call, self._recorder.record(event))


def _shared(ask: Ask, measured: Measured, answer: Answer) -> StoredAnswer | None:
    """Return an answer as others may have it; None where its hits could not be priced."""
    if measured.quality == "suspect":
        return None
    return ask.stored(
        answer,
        measured.pools,
        output_reasoning=measured.output_reasoning,
        units=measured.units,
        quality=measured.quality,
    )


def _settle(grant: Grant, ask: Ask, parts: Sequence[Part]) -> None:
    """Replace what was reserved by what the call took: the tokens that were computed, the cost of all."""
    computed = [pools for outcome, pools, _ in parts if outcome == ask.outcome] or [TokenPools()]
    charged = sum((ask.tariff.charged(*part) for part in parts), ZERO)
    grant.settle(TokenPools(*map(sum, zip(*computed, strict=True))), charged)


async def _stream(work: Work, exchange: Exchange) -> None:
    """Take the stream in until its closing event.

    Raises:
        UpstreamBroken: it ended without one, or has nothing else.
    """
    work.begin(tuple(exchange.headers))
    async for chunk in exchange.chunks():
        if work.feed(chunk):
            await exchange.finish(END_SECONDS)
            if work.begun or (work.reader is not None and work.reader.answer() is not None):
                return
            break
    raise UpstreamBroken


def _partial(work: Work) -> Measured | None:
    """Return what was used of a stream that is not whole; None where nothing came of it."""
    if work.reader is None or not work.begun:
        return None
    measured = _measure(work.leader, work.request, work.reader.so_far(), complete=False)
    return measured if measured.quality != "estimated" or measured.pools.output else None


def _failure(ask: Ask, answer: UpstreamAnswer) -> Led:
    """Return the upstream's error for the client: as it came where it is JSON, else its status in the protocol's shape.

    Raises:
        UpstreamNotConfigured: the upstream refuses the operator's key, which is no business of the customer's.
    """
    target = answer.target
    logger.info("The upstream %s answers %d (request %s).", target.upstream, answer.status, ask.call.event_id)
    if answer.status in {401, 407}:
        logger.error(
            "The upstream %s refuses the key in %s.",
            target.upstream,
            target.api_key_env or "(none is configured)",
        )
        raise UpstreamNotConfigured
    given = _kept_part(ask, answer)
    if not _is_json_object(answer.body):
        message = f"The server of this model answered with status {answer.status} and no explanation."
        body = ask.dialect.error(status=answer.status, code="upstream_error", message=message, param=None)
        given = Answer((JSON,), body)
    return Led(answer.status, given, [*_passed(ask, answer), _cache_status(ask)], None)


def _kept_part(ask: Ask, answer: UpstreamAnswer) -> Answer:
    """Return the answer with the headers that belong to it, and to every repetition of it."""
    kept = (b"content-type", *ask.dialect.kept_headers)
    return Answer(tuple(header for header in answer.headers if header[0] in kept), answer.body)


def _passed(ask: Ask, answer: UpstreamAnswer) -> list[Header]:
    """Return the headers that are passed on this once."""
    kept = (b"content-type", *ask.dialect.kept_headers)
    return [header for header in answer.headers if header[0] not in kept]


def _cache_status(ask: Ask, *, stored: bool = False) -> Header:
    return b"cache-status", b"zerorate; fwd=" + ask.outcome.encode() + (b"; stored" if stored else b"")


def _measure(ask: Ask, request: InferenceRequest, parsed: Any, *, complete: bool) -> Measured:
    metering = ask.facts.model.metering if complete else {}
    return measure(ask.dialect, request, parsed, metering, len(ask.body))


def _read(ask: Ask, request: InferenceRequest, answer: Answer) -> Any:
    try:
        return ask.dialect.read(request, answer)
    except (ValueError, RecursionError) as problem:
        logger.warning(
            "An upstream of %s answered 200 with something else than its protocol has (request %s).",
            ask.facts.model.name,
            ask.call.event_id,
        )
        raise UpstreamBroken from problem


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(_decode(body), dict)
    except (ValueError, RecursionError):
        return False


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _since_us(started_ns: int) -> int:
    return (time.perf_counter_ns() - started_ns) // 1000
