"""A call that the cache cannot answer: ask the upstream, record what it used, keep the answer, pass it on.

Which of these calls end in an event: every one that was given an answer, whole or in part, and every one for
which the upstream reports usage. A call that failed with nothing to show for it (refused, timed out, answered
with an error) writes none and costs nothing.

The order is always: commit the event, then store the answer (which names the event as its source), then send
the last byte.
"""

import functools
import logging
import time
from typing import Any, Literal

import msgspec

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.tiers import Tiers, expiry_ms
from cacheproxy.gateway.call import Header
from cacheproxy.gateway.errors import GatewayError, UpstreamBroken, UpstreamError, UpstreamNotConfigured
from cacheproxy.gateway.event import usage_event
from cacheproxy.gateway.measure import Measured, measure
from cacheproxy.gateway.recorder import Recorder
from cacheproxy.gateway.streaming import Relay
from cacheproxy.gateway.understanding import Ask
from cacheproxy.gateway.upstreams.exchange import Exchange, UpstreamAnswer
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols.request import Answer, InferenceRequest

logger = logging.getLogger(__name__)

_decode = msgspec.json.Decoder().decode


class Misses:
    """Serves calls from the upstream."""

    def __init__(
        self, upstreams: Upstreams, tiers: Tiers, recorder: Recorder, *, grace_seconds: float
    ) -> None:
        self._upstreams = upstreams
        self._tiers = tiers
        self._recorder = recorder
        self._grace_seconds = grace_seconds

    async def serve(self, ask: Ask) -> None:
        """Answer one call from the upstream.

        Raises:
            GatewayError: the call failed, and nothing was sent yet.
        """
        request = ask.request()
        relay = (
            Relay(ask.call, ask.dialect.stream_reader(request), self._grace_seconds)
            if request.stream
            else None
        )
        started_ns = time.perf_counter_ns()
        try:
            answer = await self._exchange(ask, request, relay)
        except UpstreamError as problem:
            if relay is None or not relay.begun:
                raise
            await self._end_stream(ask, request, relay, _since_us(started_ns), problem)
            return
        if answer is None:
            assert relay is not None
            await self._end_stream(ask, request, relay, _since_us(started_ns), None)
        elif answer.ok:
            await self._pass_answer(ask, request, answer, _since_us(started_ns))
        else:
            await _pass_failure(ask, answer)

    async def _exchange(
        self, ask: Ask, request: InferenceRequest, relay: Relay | None
    ) -> UpstreamAnswer | None:
        """Return the upstream's answer; None where it was a stream, which *relay* has passed on but for its end."""
        model = ask.facts.model
        agent = ask.call.headers.get(b"user-agent", b"").decode("latin-1") or None
        compose = functools.partial(ask.dialect.upstream_call, request)
        async with self._upstreams.exchange(model, compose, agent) as exchange:
            if relay is None or not (exchange.is_stream and exchange.status == 200):
                return await exchange.read()
            await relay.run(exchange, _stream_headers(ask, exchange))
            return None

    async def _pass_answer(
        self, ask: Ask, request: InferenceRequest, answer: UpstreamAnswer, upstream_us: int
    ) -> None:
        document = _document(ask, answer.body)
        complete = ask.dialect.is_answer(request, document)
        measured = measure(
            ask.dialect, request, document, ask.facts.model.metering if complete else {}, len(ask.body)
        )
        if not complete and measured.quality == "estimated":
            await ask.call.answer(answer.status, _plain_headers(answer, ask, stored=False), answer.body)
            return
        await self._record(ask, measured, upstream_us, answer.status)
        stored = complete and answer.status == 200 and await self._keep(ask, measured, answer.body)
        costs = ask.tariff.cost_headers(_outcome(ask), measured.pools, measured.units)
        if request.stream and complete:
            headers, body = ask.dialect.give(request, Answer((), answer.body))
            answer = answer._replace(headers=list(headers), body=body)
        await ask.call.answer(answer.status, _plain_headers(answer, ask, stored=stored) + costs, answer.body)

    async def _end_stream(
        self,
        ask: Ask,
        request: InferenceRequest,
        relay: Relay,
        upstream_us: int,
        problem: GatewayError | None,
    ) -> None:
        """Record and keep what was streamed, then send the end that was held back, or the error that took its place."""
        whole = relay.reader.answer() if problem is None else None
        document = relay.reader.so_far() if whole is None else _decode(whole)
        complete = whole is not None and ask.dialect.is_answer(request, document)
        measured = measure(
            ask.dialect, request, document, ask.facts.model.metering if complete else {}, len(ask.body)
        )
        try:
            if complete or measured.quality != "estimated" or measured.pools.output:
                await self._record(ask, measured, upstream_us, 200)
            if complete and whole is not None:
                await self._keep(ask, measured, whole)
        except GatewayError as failure:
            problem = failure
        if problem is None:
            await ask.call.send(relay.reader.tail(), last=True)
        else:
            error = ask.dialect.stream_error(
                status=problem.status, code=problem.code, message=problem.message
            )
            await ask.call.send(error, last=True)

    async def _record(self, ask: Ask, measured: Measured, upstream_us: int, status: int) -> None:
        event = usage_event(
            ask,
            measured,
            outcome=_outcome(ask),
            status=status,
            upstream_latency_us=upstream_us,
            raw_usage=measured.raw_usage,
        )
        await self._recorder.record(event)

    async def _keep(self, ask: Ask, measured: Measured, body: bytes) -> bool:
        """Store a complete answer whose event is durable; return whether any tier has it."""
        key, now_ms, policy = ask.facts.key, time.time_ns() // 1_000_000, ask.facts.model.cache
        if key is None or not ask.may_store or measured.quality == "suspect":
            return False
        answer = StoredAnswer(
            body=body,
            source_event=ask.call.event_id,
            stored_at_ms=now_ms,
            expires_at_ms=expiry_ms(now_ms, policy.ttl_seconds, policy.ttl_jitter),
            pools=measured.pools,
            output_reasoning=measured.output_reasoning,
            units=measured.units,
            quality=measured.quality,
        )
        return await self._tiers.put(key, answer, now_ms)


async def _pass_failure(ask: Ask, answer: UpstreamAnswer) -> None:
    """Pass on the upstream's error: as it came where it is JSON, else its status in the protocol's shape."""
    target = answer.target
    logger.info("The upstream %s answers %d (request %s).", target.upstream, answer.status, ask.call.event_id)
    if answer.status in {401, 407}:  # it refuses the operator's key, which is no business of the customer's
        logger.error(
            "The upstream %s refuses the key in %s.",
            target.upstream,
            target.api_key_env or "(none is configured)",
        )
        raise UpstreamNotConfigured
    if not _is_json_object(answer.body):
        answer = _explained(ask, answer)
    await ask.call.answer(answer.status, _plain_headers(answer, ask, stored=False), answer.body)


def _explained(ask: Ask, answer: UpstreamAnswer) -> UpstreamAnswer:
    message = f"The server of this model answered with status {answer.status} and no explanation."
    body = ask.dialect.error(status=answer.status, code="upstream_error", message=message, param=None)
    kept = [header for header in answer.headers if header[0] != b"content-type"]
    return answer._replace(headers=[*kept, (b"content-type", b"application/json")], body=body)


def _outcome(ask: Ask) -> Literal["miss", "bypass"]:
    return "miss" if ask.may_read else "bypass"


def _plain_headers(answer: UpstreamAnswer, ask: Ask, *, stored: bool) -> list[Header]:
    status = b"zerorate; fwd=" + _outcome(ask).encode() + (b"; stored" if stored else b"")
    return [*answer.headers, (b"content-length", b"%d" % len(answer.body)), (b"cache-status", status)]


def _stream_headers(ask: Ask, exchange: Exchange) -> list[Header]:
    """Return the head of a stream. What it will cost is not known yet, so no cost headers."""
    return [*exchange.headers, (b"cache-status", b"zerorate; fwd=" + _outcome(ask).encode())]


def _document(ask: Ask, body: bytes) -> Any:
    try:
        return _decode(body)
    except (ValueError, RecursionError) as problem:
        logger.warning(
            "The upstream of %s answered 200 without JSON (request %s).",
            ask.facts.model.name,
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
