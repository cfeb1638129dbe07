"""A question that memory cannot answer: meet those who ask it too, else ask the upstream, record, share.

Which calls end in an event: every one that was given an answer, whole or in part, and every one for which the
upstream reports usage. A call that failed with nothing to show for it (refused, timed out, answered with an
error) writes none and costs nothing.

The order is always: commit the event, then share the answer (which names the event as its source), then send
the last byte; the way to Redis is nobody's to wait for.
"""

import logging
import time
from typing import Any, Literal

import msgspec

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.tiers import Tiers, expiry_ms
from cacheproxy.gateway.coalescing import Coalescing
from cacheproxy.gateway.errors import (
    GatewayError,
    InternalError,
    UpstreamBroken,
    UpstreamError,
    UpstreamNotConfigured,
)
from cacheproxy.gateway.event import usage_event
from cacheproxy.gateway.idempotency import recorded
from cacheproxy.gateway.measure import Measured, measure
from cacheproxy.gateway.recorder import Recorder
from cacheproxy.gateway.understanding import Ask
from cacheproxy.gateway.upstream import END_SECONDS, Exchange, Upstream, UpstreamAnswer
from cacheproxy.gateway.work import Led, Result, Work
from cacheproxy.protocols.request import JSON, Answer, Header

logger = logging.getLogger(__name__)

_decode = msgspec.json.Decoder().decode


class Misses:
    """Answers questions from the upstream, once each."""

    def __init__(self, upstream: Upstream, tiers: Tiers, recorder: Recorder, coalescing: Coalescing) -> None:
        self._upstream = upstream
        self._tiers = tiers
        self._recorder = recorder
        self._coalescing = coalescing

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
            work.end(result)
        await self._coalescing.settle(work)

    async def _result(self, work: Work) -> Result:
        try:
            found = await self._coalescing.meet(work)
        except UpstreamError:
            work.partial = _partial(work)
            raise
        return found or await self._lead(work)

    async def _lead(self, work: Work) -> Result:
        """Ask the upstream.

        Raises:
            GatewayError: it failed.
        """
        started_ns = time.perf_counter_ns()
        try:
            answer = await self._exchange(work)
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

    async def _exchange(self, work: Work) -> UpstreamAnswer | None:
        """Return the upstream's answer; None where it was a stream, which *work* has by now."""
        ask = work.leader
        model = ask.facts.model
        agent = ask.call.headers.get(b"user-agent", b"").decode("latin-1") or None
        upstream_call = ask.dialect.upstream_call(work.request, model.upstream_model)
        try:
            async with work.patience(), self._upstream.exchange(model, upstream_call, agent) as exchange:
                if work.reader is None or not (exchange.is_stream and exchange.status == 200):
                    return await exchange.read()
                await _stream(work, exchange)
                return None
        except TimeoutError as failure:  # everybody has gone, and so has the time to read on
            raise UpstreamBroken from failure
        finally:
            work.heard_out()

    async def _end_plain(self, work: Work, upstream_answer: UpstreamAnswer, upstream_us: int) -> Led:
        ask, status = work.leader, upstream_answer.status
        answer = _kept_part(ask, upstream_answer)
        parsed = _read(work, answer)
        complete = ask.dialect.is_answer(work.request, parsed)
        measured = _measure(work, parsed, complete=complete)
        if not complete and measured.quality == "estimated":
            return Led(status, answer, [*_passed(ask, upstream_answer), _cache_status(ask)], None)
        await self._record(ask, measured, upstream_us, status)
        stored = self._keep(ask, measured, answer) if complete and status == 200 else None
        costs = ask.tariff.cost_headers(outcome(ask), measured.pools, measured.units)
        headers = [*_passed(ask, upstream_answer), _cache_status(ask, stored=stored is not None), *costs]
        work.partial = measured
        return Led(status, answer, headers, stored)

    async def _end_stream(self, work: Work, upstream_us: int) -> Led:
        """Record and keep what was streamed, but for its end, which the listeners hold back until then."""
        assert work.reader is not None
        ask, whole = work.leader, work.reader.answer()
        if whole is None:
            await self._record_partial(work, upstream_us)
            return Led(200, Answer((), b""), (), None)
        answer = Answer((JSON,), whole)
        parsed = _read(work, answer)
        complete = ask.dialect.is_answer(work.request, parsed)
        measured = work.partial = _measure(work, parsed, complete=complete)
        await self._record(ask, measured, upstream_us, 200)
        return Led(200, answer, (), self._keep(ask, measured, answer) if complete else None)

    async def _record_partial(self, work: Work, upstream_us: int) -> None:
        """Record what was streamed of an answer that is not whole, where it says anything."""
        work.partial = _partial(work)
        if work.partial is not None:
            await self._record(work.leader, work.partial, upstream_us, 200)

    async def _record(self, ask: Ask, measured: Measured, upstream_us: int, status: int) -> None:
        event = usage_event(
            ask,
            measured,
            outcome=outcome(ask),
            status=status,
            upstream_latency_us=upstream_us,
            raw_usage=measured.raw_usage,
        )
        await recorded(ask.call, self._recorder.record(event))

    def _keep(self, ask: Ask, measured: Measured, answer: Answer) -> StoredAnswer | None:
        """Keep a complete answer whose event is durable in memory; return it, or None where it is not fit for it."""
        key, policy = ask.facts.key, ask.facts.model.cache
        if key is None or not ask.may_store or measured.quality == "suspect":
            return None
        now_ms = time.time_ns() // 1_000_000
        stored = StoredAnswer(
            body=answer.body,
            headers=answer.headers,
            source_event=ask.call.event_id,
            stored_at_ms=now_ms,
            expires_at_ms=expiry_ms(now_ms, policy.ttl_seconds, policy.ttl_jitter),
            pools=measured.pools,
            output_reasoning=measured.output_reasoning,
            units=measured.units,
            quality=measured.quality,
        )
        self._tiers.memory.put(key, stored)
        return stored


async def _stream(work: Work, exchange: Exchange) -> None:
    """Take the stream in until its closing event.

    Raises:
        UpstreamBroken: it ended without one.
    """
    work.begin(tuple(exchange.headers))
    async for chunk in exchange.chunks():
        if work.feed(chunk):
            return await exchange.finish(END_SECONDS)
    raise UpstreamBroken


def _partial(work: Work) -> Measured | None:
    """Return what was used of a stream that is not whole; None where nothing came of it."""
    if work.reader is None or not work.begun:
        return None
    measured = _measure(work, work.reader.so_far(), complete=False)
    return measured if measured.quality != "estimated" or measured.pools.output else None


def _failure(ask: Ask, answer: UpstreamAnswer) -> Led:
    """Return the upstream's error for the client: as it came where it is JSON, else its status in the protocol's shape.

    Raises:
        UpstreamNotConfigured: the upstream refuses the operator's key, which is no business of the customer's.
    """
    model = ask.facts.model
    logger.info("The upstream %s answers %d (request %s).", model.upstream, answer.status, ask.call.event_id)
    if answer.status in {401, 407}:
        logger.error(
            "The upstream %s refuses the key in %s.",
            model.upstream,
            model.api_key_env or "(none is configured)",
        )
        raise UpstreamNotConfigured
    given = _kept_part(ask, answer)
    if not _is_json_object(answer.body):
        message = f"The server of this model answered with status {answer.status} and no explanation."
        body = ask.dialect.error(status=answer.status, code="upstream_error", message=message, param=None)
        given = Answer((JSON,), body)
    return Led(answer.status, given, [*_passed(ask, answer), _cache_status(ask)], None)


def outcome(ask: Ask) -> Literal["miss", "bypass"]:
    """Return the outcome of a call for which the upstream was asked."""
    return "miss" if ask.may_read else "bypass"


def _kept_part(ask: Ask, answer: UpstreamAnswer) -> Answer:
    """Return the answer with the headers that belong to it, and to every repetition of it."""
    kept = (b"content-type", *ask.dialect.kept_headers)
    return Answer(tuple(header for header in answer.headers if header[0] in kept), answer.body)


def _passed(ask: Ask, answer: UpstreamAnswer) -> list[Header]:
    """Return the headers that are passed on this once."""
    kept = (b"content-type", *ask.dialect.kept_headers)
    return [header for header in answer.headers if header[0] not in kept]


def _cache_status(ask: Ask, *, stored: bool = False) -> Header:
    return b"cache-status", b"zerorate; fwd=" + outcome(ask).encode() + (b"; stored" if stored else b"")


def _measure(work: Work, parsed: Any, *, complete: bool) -> Measured:
    ask = work.leader
    metering = ask.facts.model.metering if complete else {}
    return measure(ask.dialect, work.request, parsed, metering, len(ask.body))


def _read(work: Work, answer: Answer) -> Any:
    ask = work.leader
    try:
        return ask.dialect.read(work.request, answer)
    except (ValueError, RecursionError) as problem:
        logger.warning(
            "The upstream %s answered 200 with something else than its protocol has (request %s).",
            ask.facts.model.upstream,
            ask.call.event_id,
        )
        raise UpstreamBroken from problem


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(_decode(body), dict)
    except (ValueError, RecursionError):
        return False


def _since_us(started_ns: int) -> int:
    return (time.perf_counter_ns() - started_ns) // 1000
