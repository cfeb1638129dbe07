"""A stored answer: the bytes of a complete, successful answer and what it is worth.

As bytes (for Redis): a fixed header, big-endian, then the answer as it came.

====================  =====  ==========================================================
magic ``zra1``        4      the version of this layout
checksum              4      CRC-32 of everything after it: a damaged value is no answer
stored_at_ms          8      since the epoch
expires_at_ms         8      since the epoch
source_event          16     the event of the miss that paid
pools                 5 × 8  input, cache_read, cache_write, cache_write_1h, output
output_reasoning      8
units                 8
quality               1      index into ``QUALITIES``
====================  =====  ==========================================================
"""

import struct
import zlib
from typing import Any, Literal
from uuid import UUID

import msgspec

from metering.tokens import TokenPools

KeptQuality = Literal["reported", "estimated"]
QUALITIES: tuple[KeptQuality, ...] = ("reported", "estimated")
"""Suspect usage is never stored: its hits could not be priced."""

_MAGIC = b"zra1"
_PREFIX = struct.Struct(">4sI")
_FACTS = struct.Struct(">qq16s5qqqB")
_BODY_OFFSET = _PREFIX.size + _FACTS.size


class StoredAnswer(msgspec.Struct):
    """One answer in the cache, with the usage that its miss had. Shared between calls: only ``memo`` may change."""

    body: bytes
    source_event: UUID
    stored_at_ms: int
    expires_at_ms: int
    pools: TokenPools
    output_reasoning: int
    units: int
    quality: KeptQuality
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    memo: Any = None
    """Room for its reader to keep what it worked out of the rest."""

    def age_seconds(self, now_ms: int) -> int:
        """Return how old the answer is."""
        return max(0, now_ms - self.stored_at_ms) // 1000


def encode_answer(answer: StoredAnswer) -> bytes:
    """Return *answer* as bytes for a tier outside this process."""
    facts = _FACTS.pack(
        answer.stored_at_ms,
        answer.expires_at_ms,
        answer.source_event.bytes,
        *answer.pools,
        answer.output_reasoning,
        answer.units,
        QUALITIES.index(answer.quality),
    )
    checksum = zlib.crc32(answer.body, zlib.crc32(facts))
    return b"".join((_PREFIX.pack(_MAGIC, checksum), facts, answer.body))


def decode_answer(value: bytes) -> StoredAnswer | None:
    """Return the answer in *value*, or None where the bytes are damaged or of another version."""
    if len(value) < _BODY_OFFSET:
        return None
    magic, checksum = _PREFIX.unpack_from(value)
    if magic != _MAGIC or checksum != zlib.crc32(memoryview(value)[_PREFIX.size :]):
        return None
    stored_at_ms, expires_at_ms, source, *counts, quality = _FACTS.unpack_from(value, _PREFIX.size)
    *pools, output_reasoning, units = counts
    return StoredAnswer(
        body=value[_BODY_OFFSET:],
        source_event=UUID(bytes=source),
        stored_at_ms=stored_at_ms,
        expires_at_ms=expires_at_ms,
        pools=TokenPools(*pools),
        output_reasoning=output_reasoning,
        units=units,
        quality=QUALITIES[quality],
    )
