"""A question that memory cannot answer: meet those who ask it too, else ask the upstream, record, share.

Which calls end in an event: every one that was given an answer, whole or in part, and every one for which the
upstream reports usage. A call that failed with nothing to show for it (refused, timed out, answered with an
error) writes none and costs nothing.

The order is always: commit the event, then share the answer (which names the event as its source), then send
the last byte; the way to Redis is nobody's to wait for.
"""

import logging
import time
from collections.abc import Awaitable, Sequence
from functools import partial

from billing.money import ZERO
from cacheproxy.cache.sightings import Sightings
from cacheproxy.cache.tiers import Tiers
from cacheproxy.gateway.errors import GatewayError, InternalError, NobodyWaits, NotCached
from cacheproxy.gateway.flight.absences import Absences
from cacheproxy.gateway.flight.asking import (
    as_shared,
    cache_status,
    exchange,
    failure,
    kept_part,
    passed_headers,
    read,
    usage_of,
    usage_so_far,
)
from cacheproxy.gateway.flight.batches import Batches, Computed
from cacheproxy.gateway.flight.coalescing import Coalescing
from cacheproxy.gateway.flight.refreshing import Refreshing
from cacheproxy.gateway.flight.refusals import Refusals
from cacheproxy.gateway.flight.rewordings import Rewordings, with_look_up
from cacheproxy.gateway.flight.work import Found, Led, Part, Result, Work
from cacheproxy.gateway.idempotency import recorded
from cacheproxy.gateway.keeping import to_keep
from cacheproxy.gateway.limits.grants import NO_GRANT, Grant
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.recording.event import usage_event
from cacheproxy.gateway.recording.measure import Measured
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.telemetry.current import step
from cacheproxy.gateway.understanding import Ask
from cacheproxy.gateway.upstreams.errors import UpstreamBroken, UpstreamError
from cacheproxy.gateway.upstreams.exchange import UpstreamAnswer
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols.request import JSON, Answer, Header, InferenceRequest
from metering.tokens import TokenPools

logger = logging.getLogger(__name__)

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
        refreshing: Refreshing,
        rewordings: Rewordings,
    ) -> None:
        self.refusals = Refusals()
        self.rewordings = rewordings
        self._absences = Absences(tiers.memory)
        self._batches = Batches(tiers, recorder, sightings, self._absences)
        self._sightings = sightings
        self._upstreams = upstreams
        self._tiers = tiers
        self._recorder = recorder
        self._coalescing = coalescing
        self._limits = limits
        self._refreshing = refreshing

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
        if work.leader.facts.rules.refreshes and (found := work.found) is not None:
            self._refreshing.consider(work.leader, found)
        if work.leader.facts.rules.policy.semantic is not None:
            self.rewordings.conclude(work)

    async def _result(self, work: Work) -> Result:
        try:
            found = await step(work.leader.call, "look-up", self._coalescing.meet(work))
        except UpstreamError:
            work.used = usage_so_far(work)
            raise
        if found is None and work.is_deserted:
            raise NobodyWaits
        if found is None and work.leader.facts.rules.policy.semantic is not None:
            found = await self._reworded(work)
        return found or await self._lead_or_stand_in(work)

    async def _reworded(self, work: Work) -> Found | None:
        if not work.leader.may_read:
            return None
        looking = self.rewordings.find(work.leader, work.request)
        work.finding, found = await step(work.leader.call, "semantic", looking)
        return found

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
        seconds = ask.stale_if_error_seconds
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
            answer = await exchange(self._upstreams, work, work.request)
        except UpstreamError:
            if work.begun:
                await self._record_partial(work, _since_us(started_ns))
            raise
        upstream_us = _since_us(started_ns)
        if answer is None:
            return await self._end_stream(work, upstream_us)
        if answer.ok:
            return await self._end_plain(work, answer, upstream_us)
        return failure(work.leader, answer)

    async def _compute(self, work: Work, request: InferenceRequest) -> Computed | Led:
        """Return what the upstream gives for some items of a batch; a failure as it is to be passed on.

        Raises:
            NotCached: the client wants to have nothing computed.
            UpstreamError: the upstream failed, or its answer is none.
        """
        ask, started_ns = work.leader, time.perf_counter_ns()
        if ask.controls.only_if_cached:
            raise NotCached
        upstream_answer = await exchange(self._upstreams, work, request)
        assert upstream_answer is not None, "batches are not streamed"
        upstream_us = _since_us(started_ns)
        if not upstream_answer.ok:
            return failure(ask, upstream_answer)
        parsed = read(ask, request, kept_part(ask, upstream_answer))
        if not ask.dialect.is_answer(request, parsed):
            raise UpstreamBroken
        measured = usage_of(ask, request, parsed, complete=True)
        passed = passed_headers(ask, upstream_answer)
        return Computed(upstream_answer.status, passed, parsed, measured, upstream_us)

    async def _end_plain(self, work: Work, upstream_answer: UpstreamAnswer, upstream_us: int) -> Led:
        ask = work.leader
        passed = passed_headers(ask, upstream_answer)
        answer = kept_part(ask, upstream_answer)
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
        parsed = read(ask, work.request, answer)
        complete = dialect.is_answer(work.request, parsed)
        measured = usage_of(ask, work.request, parsed, complete=complete)
        if not complete and measured.quality == "estimated" and not work.begun:
            return Led(status, answer, [*passed, cache_status(ask)], None)
        recording = self._record(work, measured, upstream_us, status)
        to_share = await to_keep(ask, parsed, answer) if complete and status == 200 else None
        shared = None if to_share is None else as_shared(ask, measured, to_share, upstream_us)
        kept = []
        key = ask.facts.key
        lasts = shared is not None and dialect.lasts(work.request, parsed) and self._tiers.takes(shared)
        if lasts and shared is not None and key is not None:
            admits = ask.facts.rules.policy.admit_after == 1 or await self._is_known(ask, key)
            kept = [(key, shared)] if admits else []
        part = (ask.outcome, measured.pools, measured.units)
        headers = [
            *passed,
            cache_status(ask, stored=bool(kept)),
            *ask.key_headers,
            *ask.tariff.cost_headers(part),
        ]
        await recording
        work.used = measured
        for item in kept:
            self._tiers.memory.put(*item)
        return Led(status, answer, headers, shared, [part], kept, is_whole=complete)

    async def _is_known(self, ask: Ask, key: bytes) -> bool:
        """Return whether the question was asked before, lately."""
        return await self._sightings.again(ask.flight_of(key), _now_ms())

    async def _record_partial(self, work: Work, upstream_us: int) -> None:
        """Record what was streamed of an answer that is not whole, where it says anything."""
        work.used = usage_so_far(work)
        if work.used is not None:
            await self._record(work, work.used, upstream_us, 200)

    def _record(self, work: Work, measured: Measured, upstream_us: int, status: int) -> Awaitable[None]:
        """Hand the event over; what is returned ends when it is durable, or raises why it is not."""
        ask = work.leader
        event = usage_event(
            ask,
            measured,
            outcome=ask.outcome,
            status=status,
            upstream_latency_us=upstream_us,
            raw_usage=with_look_up(measured.raw_usage, work.finding),
        )
        return recorded(ask.call, self._recorder.record(event))


def _settle(grant: Grant, ask: Ask, parts: Sequence[Part]) -> None:
    """Replace what was reserved by what the call took: the tokens that were computed, the cost of all."""
    computed = [pools for outcome, pools, _ in parts if outcome == ask.outcome] or [TokenPools()]
    charged = sum((ask.tariff.charged(*part) for part in parts), ZERO)
    grant.settle(TokenPools(*map(sum, zip(*computed, strict=True))), charged)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _since_us(started_ns: int) -> int:
    return (time.perf_counter_ns() - started_ns) // 1000
