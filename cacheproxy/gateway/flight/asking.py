"""How the upstream is asked for a work, and what its answer is. Nothing is recorded or kept here."""

import asyncio
import logging
from functools import partial
from typing import Any

import msgspec

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.flight.work import Led, Work
from cacheproxy.gateway.recording.measure import Measured, measure
from cacheproxy.gateway.understanding import Ask
from cacheproxy.gateway.upstreams.errors import UpstreamBroken, UpstreamNotConfigured
from cacheproxy.gateway.upstreams.exchange import END_SECONDS, Exchange, UpstreamAnswer
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols.request import JSON, Answer, Header, InferenceRequest

logger = logging.getLogger(__name__)

_decode = msgspec.json.Decoder().decode


async def exchange(upstreams: Upstreams, work: Work, request: InferenceRequest) -> UpstreamAnswer | None:
    """Return the upstream's answer; None where it was a stream, which *work* has by now.

    Raises:
        UpstreamError: the upstream failed, or nobody wants to hear it any more.
    """
    ask = work.leader
    model = ask.facts.model
    agent = ask.call.headers.get(b"user-agent", b"").decode("latin-1") or None
    compose = partial(ask.dialect.upstream_call, request)
    if not work.begin_reading():
        raise UpstreamBroken
    try:
        async with upstreams.exchange(model, compose, agent) as under_way:
            if work.reader is None or not (under_way.is_stream and under_way.status == 200):
                return await under_way.read()
            await _stream(work, under_way)
            return None
    except asyncio.CancelledError as stop:
        if work.was_broken_off():  # everybody has gone, and so has the time to read on
            raise UpstreamBroken from stop
        raise
    finally:
        work.heard_out()


def usage_so_far(work: Work) -> Measured | None:
    """Return what was used of a stream that is not whole; None where nothing came of it."""
    if work.reader is None or not work.begun:
        return None
    measured = usage_of(work.leader, work.request, work.reader.so_far(), complete=False)
    return measured if measured.quality != "estimated" or measured.pools.output else None


def failure(ask: Ask, answer: UpstreamAnswer) -> Led:
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
    given = kept_part(ask, answer)
    if not _is_json_object(answer.body):
        message = f"The server of this model answered with status {answer.status} and no explanation."
        body = ask.dialect.error(status=answer.status, code="upstream_error", message=message, param=None)
        given = Answer((JSON,), body)
    return Led(answer.status, given, [*passed_headers(ask, answer), cache_status(ask)], None)


def kept_part(ask: Ask, answer: UpstreamAnswer) -> Answer:
    """Return the answer with the headers that belong to it, and to every repetition of it."""
    kept = ask.dialect.kept_headers
    return Answer(tuple([header for header in answer.headers if header[0] in kept]), answer.body)


def passed_headers(ask: Ask, answer: UpstreamAnswer) -> list[Header]:
    """Return the headers that are passed on this once."""
    kept = ask.dialect.kept_headers
    return [header for header in answer.headers if header[0] not in kept]


def cache_status(ask: Ask, *, stored: bool = False) -> Header:
    """Return what a call is told for which the upstream was asked."""
    return b"cache-status", b"zerorate; fwd=" + ask.outcome.encode() + (b"; stored" if stored else b"")


def usage_of(ask: Ask, request: InferenceRequest, parsed: Any, *, complete: bool) -> Measured:
    """Return what an upstream's parsed answer used; what the model's own rule says counts for complete ones only."""
    metering = ask.facts.model.metering if complete else {}
    return measure(ask.dialect, request, parsed, metering, len(ask.body))


def read(ask: Ask, request: InferenceRequest, answer: Answer) -> Any:
    """Return an upstream's answer, parsed.

    Raises:
        UpstreamBroken: it is none of its protocol.
    """
    try:
        return ask.dialect.read(request, answer)
    except (ValueError, RecursionError) as problem:
        logger.warning(
            "An upstream of %s answered 200 with something else than its protocol has (request %s).",
            ask.facts.model.name,
            ask.call.event_id,
        )
        raise UpstreamBroken from problem


def as_shared(ask: Ask, measured: Measured, answer: Answer, took_us: int) -> StoredAnswer | None:
    """Return an answer as others may have it; None where its hits could not be priced."""
    if measured.quality == "suspect":
        return None
    return ask.stored(
        answer,
        measured.pools,
        output_reasoning=measured.output_reasoning,
        units=measured.units,
        quality=measured.quality,
        took_us=took_us,
    )


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


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(_decode(body), dict)
    except (ValueError, RecursionError):
        return False
