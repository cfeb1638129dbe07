"""The usage event of a call: the same facts whether an upstream or the cache answered it."""

from typing import Literal
from uuid import UUID

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.recording.measure import Measured
from cacheproxy.gateway.understanding import Ask
from metering.usage_event import UsageEvent, seal

Outcome = Literal["miss", "exact", "semantic", "coalesced", "bypass"]


def usage_event(
    ask: Ask,
    used: Measured | StoredAnswer,
    *,
    outcome: Outcome,
    status: int,
    source_event: UUID | None = None,
    similarity: float | None = None,
    upstream_latency_us: int | None = None,
    raw_usage: bytes | None = None,
    event_id: UUID | None = None,
) -> UsageEvent:
    """Return the sealed event of *ask*, which *used* says the counts of; its call knows it from now on.

    Its latency ends now. Its id is the request's, unless *event_id* is given because the request has another event.

    Raises:
        InvalidUsageEvent: the table would refuse it.
    """
    call, access, model, pools = ask.call, ask.caller.access, ask.facts.model, used.pools
    call.event = seal(
        UsageEvent(
            event_id=event_id or call.event_id,
            tenant_id=access.tenant_id,
            api_key_id=access.api_key_id,
            request_id=call.event_id,
            model=model.name,
            model_version=model.version,
            outcome=outcome,
            occurred_at=call.now,
            input=pools.input,
            cache_read=pools.cache_read,
            cache_write=pools.cache_write,
            cache_write_1h=pools.cache_write_1h,
            output=pools.output,
            output_reasoning=used.output_reasoning,
            units=used.units,
            quality=used.quality,
            source_event=source_event,
            similarity=similarity,
            latency_us=call.elapsed_us(),
            upstream_latency_us=upstream_latency_us,
            status=status,
            raw_usage=raw_usage,
        )
    )
    return call.event
