"""A request for several items, some of which the cache has: only the missing ones go upstream, once each.

Every item is kept under a key of its own, which is also the key it has when it is asked for alone. A batch ends
in two events under one request id: a miss for what was computed, and an exact hit for what was not (items that
the cache had, and repetitions within the request). What the upstream reports is shared out over its items by
their size, to the token, so that every later hit serves its own part and no more.
"""

import collections
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from billing.money import allocate
from cacheproxy.cache.answer import KeptQuality, StoredAnswer
from cacheproxy.cache.sightings import Sightings
from cacheproxy.cache.tiers import Tiers
from cacheproxy.gateway.flight.absences import Absences
from cacheproxy.gateway.flight.work import Led
from cacheproxy.gateway.idempotency import recorded
from cacheproxy.gateway.keeping import items_to_keep
from cacheproxy.gateway.pooling import POOL_HIT, anonymous, note_of_pool
from cacheproxy.gateway.recording.event import usage_event
from cacheproxy.gateway.recording.measure import Measured
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.understanding import Ask
from cacheproxy.gateway.upstreams.errors import UpstreamBroken
from cacheproxy.protocols.request import JSON, Answer, Batch, Header, InferenceRequest
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools
from metering.usage_event import UsageEvent

logger = logging.getLogger(__name__)

MAX_SOURCES = 100
"""Sources that a hit's event names; with more, the busiest are named."""


class Computed(NamedTuple):
    """What the upstream gave for some of the items, and what it took."""

    status: int
    headers: Sequence[Header]
    parsed: object
    measured: Measured
    upstream_us: int


AskUpstream = Callable[[InferenceRequest], Awaitable[Computed | Led]]
"""Asks for a part of the batch; a Led is a failure, to be passed on."""


class Batches:
    """Answers batches from the cache and the upstream together."""

    def __init__(self, tiers: Tiers, recorder: Recorder, sightings: Sightings, absences: Absences) -> None:
        self._tiers = tiers
        self._absences = absences
        self._sightings = sightings
        self._recorder = recorder

    async def lead(self, ask: Ask, batch: Batch, ask_upstream: AskUpstream) -> Led:
        """Return the answer to the whole batch, its events recorded.

        Raises:
            GatewayError: the upstream failed, or its answer does not have a part for each item.
        """
        keys = [ask.key_of(item) for item in batch.items]
        known = await self._known(ask, keys)
        first_places = {key: place for place, key in reversed(list(enumerate(keys))) if key not in known}
        missing = sorted(first_places.values())
        fresh: dict[bytes, StoredAnswer] = {}
        computed = None
        if missing:
            self._absences.explain(ask, keys[missing[0]])
            result = await ask_upstream(batch.asking(missing))
            if isinstance(result, Led):
                return result
            computed = result
            fresh = _share_out(ask, batch, missing, keys, computed)
        all_answers = known | fresh
        hits = [all_answers[key] for place, key in enumerate(keys) if place not in set(missing)]
        await self._record(ask, computed, hits)
        kept: Mapping[bytes, StoredAnswer] = {}
        may_share = not fresh
        if computed is not None and computed.measured.quality != "suspect":
            kept = await items_to_keep(ask, computed.parsed, fresh)
            may_share = len(kept) == len(fresh)
            kept = {key: stored for key, stored in kept.items() if self._tiers.takes(stored)}
        if kept and ask.facts.rules.policy.admit_after > 1:
            names = {key: ask.flight_of(key) for key in kept}
            seen = await self._sightings.among(names.values(), ask.call.now_ms)
            kept = {key: stored for key, stored in kept.items() if names[key] in seen}
        for key, stored in kept.items():
            self._tiers.memory.put(key, stored)
        led = _joined(ask, batch, [all_answers[key] for key in keys], computed, hits, kept)
        return led if may_share else led._replace(stored=None)

    async def _known(self, ask: Ask, keys: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        if not ask.may_read:
            return {}
        now_ms = ask.call.now_ms
        found = await self._tiers.fetch_many(set(keys), now_ms)
        return {key: stored for key, stored in found.items() if ask.is_young_enough(stored, now_ms)}

    async def _record(self, ask: Ask, computed: Computed | None, hits: Sequence[StoredAnswer]) -> None:
        """Record both events in one batch of the recorder, so that neither is durable much before the other."""
        events = []
        if computed is not None:
            events.append(_miss_event(ask, computed))
        if hits:
            event_id = ask.call.second_event_id if events else ask.call.event_id
            events.append(
                usage_event(
                    ask,
                    _sum(hits),
                    outcome="exact",
                    status=200,
                    source_event=hits[0].source_event,
                    raw_usage=_sources(ask, hits),
                    event_id=event_id,
                )
            )
        for recording in [self._recorder.record(event) for event in events]:
            await recorded(ask.call, recording)


def _miss_event(ask: Ask, computed: Computed) -> UsageEvent:
    return usage_event(
        ask,
        computed.measured,
        outcome=ask.outcome,
        status=computed.status,
        upstream_latency_us=computed.upstream_us,
        raw_usage=computed.measured.raw_usage,
    )


def _share_out(
    ask: Ask, batch: Batch, missing: Sequence[int], keys: Sequence[bytes], computed: Computed
) -> dict[bytes, StoredAnswer]:
    """Return the answer of each missing item, with its part of the usage."""
    parsed = computed.parsed if ask.facts.pool is None else anonymous(ask.dialect, computed.parsed)
    try:
        bodies = batch.split(missing, parsed)
    except (ValueError, LookupError, TypeError) as problem:
        logger.warning("An upstream of %s left items out of its answer.", ask.facts.model.name)
        raise UpstreamBroken from problem
    measured, weights = computed.measured, batch.weights(missing)
    shares = [allocate(count, weights) for count in (*measured.pools, measured.units)]
    quality: KeptQuality = "reported" if measured.quality == "reported" else "estimated"
    return {
        keys[place]: ask.stored(
            Answer((JSON,), body),
            TokenPools(*counts[:-1]),
            units=counts[-1],
            quality=quality,
            took_us=computed.upstream_us,
        )
        for place, body, *counts in zip(missing, bodies, *shares, strict=True)
    }


def _joined(
    ask: Ask,
    batch: Batch,
    answers: Sequence[StoredAnswer],
    computed: Computed | None,
    hits: Sequence[StoredAnswer],
    kept: Mapping[bytes, StoredAnswer],
) -> Led:
    served = [("exact", _sum(hits))] if hits else []
    if computed is not None:
        served.append((ask.outcome, computed.measured))
    parts = [(outcome, used.pools, used.units) for outcome, used in served]
    total = _sum([used for _, used in served])
    body = batch.join([stored.body for stored in answers], UsageReport(total.pools, 0, total.units))
    costs = ask.tariff.cost_headers(*parts)
    provenance = _provenance(ask, len(answers), hits, stored=bool(kept))
    headers = [*(computed.headers if computed else ()), *provenance, *costs]
    answer = Answer((JSON,), body)
    shared = None
    if total.quality != "suspect":
        shared = ask.stored(answer, total.pools, units=total.units, quality=total.quality)
    return Led(200, answer, headers, shared, parts, [*kept.items()], is_whole=True)


def _sum(parts: Sequence[Measured | StoredAnswer]) -> Measured:
    pools = TokenPools(*map(sum, zip(*(part.pools for part in parts), strict=True)))
    units = sum(part.units for part in parts)
    qualities = {part.quality for part in parts}
    quality = next(q for q in ("suspect", "estimated", "reported") if q in qualities)
    return Measured(pools, 0, units, quality)


def _sources(ask: Ask, hits: Sequence[StoredAnswer]) -> bytes | None:
    counts: Mapping[str, int] = collections.Counter(str(hit.source_event) for hit in hits)
    busiest = sorted(counts.items(), key=lambda item: -item[1])[:MAX_SOURCES]
    note = msgspec.json.encode({"items": len(hits), "sources": dict(busiest)})
    return note if ask.facts.pool is None else note_of_pool(ask, hits, note)


def _provenance(ask: Ask, items: int, hits: Sequence[StoredAnswer], *, stored: bool) -> list[Header]:
    """Return where the answer comes from; of one that was all there, the age and the end of its oldest parts."""
    if len(hits) < items:
        return [(b"cache-status", _miss_status(ask, items, len(hits), stored=stored))]
    if ask.facts.pool is not None:
        return [POOL_HIT]
    now_ms = ask.call.now_ms
    ttl_seconds = (min(hit.expires_at_ms for hit in hits) - now_ms) // 1000
    return [
        (b"cache-status", b"zerorate; hit; ttl=%d; detail=exact" % ttl_seconds),
        (b"age", b"%d" % max(hit.age_seconds(now_ms) for hit in hits)),
        (b"x-zerorate-source", str(hits[0].source_event).encode()),
    ]


def _miss_status(ask: Ask, items: int, hits: int, *, stored: bool) -> bytes:
    said = b"; stored" if stored else b""
    if hits:
        return b"zerorate; fwd=partial%b; detail=hits-%d-of-%d" % (said, hits, items)
    return b"zerorate; fwd=" + ask.outcome.encode() + said
