"""The usage event: a fact about one call, written once.

`UsageEvent` is what the gateway records, the outage spool stores (as JSON) and PostgreSQL keeps. Build one
without a digest, then `seal` it: sealing checks the event and stamps the digest by which a repetition is told
from a conflict.
"""

import hashlib
import os
import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NoReturn
from uuid import UUID, SafeUUID

import msgspec

from metering.tokens import BILLABLE, MAX_COUNT, TokenPools

HITS = ("exact", "semantic", "coalesced")
OUTCOMES = ("miss", *HITS, "bypass")
QUALITIES = ("reported", "estimated", "suspect")
DIGEST_VERSION = "e1"

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_random = random.Random()  # noqa: S311 - ids are unique, not secret; seeded by the system, and again after a fork
os.register_at_fork(after_in_child=_random.seed)
_MICROSECOND = timedelta(microseconds=1)
_LOWER = (1 << 62) - 1
_VERSION_7 = 7 << 76
_VARIANT = 2 << 62
_blank: Callable[[type[UUID]], UUID] = object.__new__
_put_int = UUID.__dict__["int"].__set__
_put_is_safe = UUID.__dict__["is_safe"].__set__
_UNKNOWN = SafeUUID.unknown


class InvalidUsageEvent(ValueError):
    """The event breaks a rule that the table would refuse it for."""


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call's usage, in the order of the table's columns.

    Pools are the tokens *served*. `latency_us` and `upstream_latency_us` are microseconds, `status` the HTTP
    status answered. `raw_usage` is the provider's own report as JSON text in UTF-8, exactly as bytes: COPY
    wants bytes, and inside a spooled event JSON carries them as base64, so that nothing re-reads or re-spells
    what the provider said.
    """

    event_id: UUID
    tenant_id: int
    api_key_id: int | None = None
    request_id: UUID
    model: str
    model_version: str
    outcome: Literal["miss", "exact", "semantic", "coalesced", "bypass"]
    occurred_at: Instant
    input: Count = 0
    cache_read: Count = 0
    cache_write: Count = 0
    cache_write_1h: Count = 0
    output: Count = 0
    output_reasoning: Count = 0
    units: Count = 0
    quality: Literal["reported", "estimated", "suspect"]
    source_event: UUID | None = None
    similarity: float | None = None
    latency_us: Annotated[int, msgspec.Meta(ge=0)]
    upstream_latency_us: Annotated[int, msgspec.Meta(ge=0)] | None = None
    status: int
    payload_digest: bytes = b""
    raw_usage: bytes | None = None

    @property
    def pools(self) -> TokenPools:
        """Return the five token pools as served."""
        return TokenPools(self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.output)


COLUMNS: tuple[str, ...] = UsageEvent.__struct_fields__


def seal(event: UsageEvent) -> UsageEvent:
    """Stamp the event with its payload digest, once it is known that the table will take it, and return it.

    Raises:
        InvalidUsageEvent: a rule of `check` is broken.
    """
    check(event)
    msgspec.structs.force_setattr(event, "payload_digest", payload_digest(event))
    return event


def check(event: UsageEvent) -> None:
    """Refuse an event that the table's constraints would refuse, for one such row fails a whole batch.

    Raises:
        InvalidUsageEvent: naming the field and what is wrong with it.
    """
    counts = (
        event.input,
        event.cache_read,
        event.cache_write,
        event.cache_write_1h,
        event.output,
        event.units,
        event.output_reasoning,
    )
    if min(counts) < 0 or max(counts) > MAX_COUNT:
        _refuse_counts(counts)
    if event.output_reasoning > event.output:
        raise InvalidUsageEvent(f"output_reasoning is {event.output_reasoning} but output is {event.output}")
    if event.outcome not in OUTCOMES:
        raise InvalidUsageEvent(f"outcome {event.outcome!r} is none of {', '.join(OUTCOMES)}")
    if event.quality not in QUALITIES:
        raise InvalidUsageEvent(f"quality {event.quality!r} is none of {', '.join(QUALITIES)}")
    if event.outcome in HITS and event.source_event is None:
        raise InvalidUsageEvent(f"a hit ({event.outcome}) names no source_event")
    if event.occurred_at.tzinfo is None:
        raise InvalidUsageEvent(f"occurred_at {event.occurred_at.isoformat()} has no time zone")


def _refuse_counts(counts: tuple[int, ...]) -> NoReturn:
    for field, count in zip((*BILLABLE, "output_reasoning"), counts, strict=True):
        if not 0 <= count <= MAX_COUNT:
            raise InvalidUsageEvent(f"{field} is {count}, not between 0 and {MAX_COUNT}")
    raise AssertionError("called with sound counts")


def payload_digest(event: UsageEvent) -> bytes:
    """Return the SHA-256 over what the event says about billing, the same for its row read back.

    In it: identity, outcome, time (microseconds), all counts, quality, source and status. Not in it:
    latencies, and `similarity` and `raw_usage`, evidence that the database's `real` and `jsonb` re-spell.
    """
    content = (
        DIGEST_VERSION,
        event.event_id,
        event.tenant_id,
        event.api_key_id,
        event.request_id,
        event.model,
        event.model_version,
        event.outcome,
        (event.occurred_at - _EPOCH) // _MICROSECOND,
        (event.input, event.cache_read, event.cache_write, event.cache_write_1h, event.output),
        event.output_reasoning,
        event.units,
        event.quality,
        event.source_event,
        event.status,
    )
    return hashlib.sha256(_encoder.encode(content)).digest()


def to_json(event: UsageEvent) -> bytes:
    """Return the event as one JSON object, as the outage spool stores it."""
    return _encoder.encode(event)


def batch_to_json(events: Sequence[UsageEvent]) -> bytes:
    """Return *events* as one JSON array of objects like `to_json`'s."""
    return _encoder.encode(events)


def from_json(text: bytes) -> UsageEvent:
    """Return the event that `to_json` wrote, refusing unknown fields, wrong types and counts out of bounds.

    Raises:
        InvalidUsageEvent: the text is not such an event.
    """
    try:
        return _decoder.decode(text)
    except ValueError as problem:
        raise InvalidUsageEvent(f"not a usage event: {problem}") from problem


class EventIds:
    """A source of UUIDv7s that never go down, even when the clock does or two come in one millisecond.

    Within a millisecond, or while the clock is behind an id already given, the next id is the last one plus a
    random step (RFC 9562, section 6.2, method 2). Safe to share between threads.
    """

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self, now_ns: int) -> UUID:
        """Return an id above every id given before. `now_ns` is nanoseconds since 1970, UTC."""
        fresh = (now_ns // 1_000_000) << 74 | _random.getrandbits(74)
        with self._lock:
            if fresh >> 74 > self._last >> 74:
                self._last = fresh
            else:
                self._last += 1 + (fresh & 0xFFFFFFFF)
            return _uuid7(self._last)


def uuid7_bounds(instant: datetime) -> UUID:
    """Return the lowest UUIDv7 of the instant's millisecond: a partition's inclusive lower bound."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return _uuid7((instant - _EPOCH) // timedelta(milliseconds=1) << 74)


def _uuid7(value: int) -> UUID:
    """Spread 122 bits (48 of milliseconds, 74 of the rest) around the version and the variant."""
    upper, lower = value >> 62, value & _LOWER
    uuid = _blank(UUID)  # without UUID's own checks, which cost more than all else here
    _put_int(uuid, (upper >> 12) << 80 | _VERSION_7 | (upper & 0xFFF) << 64 | _VARIANT | lower)
    _put_is_safe(uuid, _UNKNOWN)
    return uuid


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(UsageEvent)
new_event_id = EventIds().next
