"""A stored answer: the bytes of a complete, successful answer and what it is worth.

As bytes (for Redis): a fixed header, big-endian, then the answer's own headers and its tags, then its body as it came.

====================  =====  ==========================================================
magic ``zra3``        4      the version of this layout
checksum              4      CRC-32 of everything after it: a damaged value is no answer
stored_at_ms          8      since the epoch
expires_at_ms         8      since the epoch; a script in Redis reads it at this place
stale_until_ms        8      since the epoch; 0: never given once it has expired
source_event          16     the event of the miss that paid
pools                 5 × 8  input, cache_read, cache_write, cache_write_1h, output
output_reasoning      8
units                 8
quality               1      index into ``QUALITIES``
notes_size            4      bytes of headers and tags that follow, as MessagePack
====================  =====  ==========================================================
"""

import struct
import zlib
from typing import Any, Literal
from uuid import UUID

import msgspec

from cacheproxy.cache.epochs import Tagged
from metering.tokens import TokenPools

KeptQuality = Literal["reported", "estimated"]
QUALITIES: tuple[KeptQuality, ...] = ("reported", "estimated")
"""Suspect usage is never stored: its hits could not be priced."""

MAGIC = b"zra3"
_PREFIX = struct.Struct(">4sI")
_FACTS = struct.Struct(">qqq16s5qqqBI")
_NOTES_OFFSET = _PREFIX.size + _FACTS.size
Headers = tuple[tuple[bytes, bytes], ...]
_encode_notes = msgspec.msgpack.Encoder().encode
_decode_notes = msgspec.msgpack.Decoder(tuple[Headers, Tagged | None]).decode


class StoredAnswer(msgspec.Struct, gc=False):
    """One answer in the cache, with the usage that its miss had. Shared between calls: only ``memo`` may change.

    The garbage collector does not look at it: there are very many, and nothing in it refers to it.
    """

    body: bytes
    source_event: UUID
    stored_at_ms: int
    expires_at_ms: int
    pools: TokenPools
    output_reasoning: int
    units: int
    quality: KeptQuality
    headers: Headers = ((b"content-type", b"application/json"),)
    """Without these the body could not be read: its content type, and what its dialect keeps."""
    stale_until_ms: int = 0
    """Until when it may stand in for a failure once it has expired; 0: never."""
    tagged: Tagged | None = None
    """By what it can be invalidated beside its key."""
    memo: Any = None
    """Room for its reader to keep what it worked out of the rest."""

    @property
    def kept_until_ms(self) -> int:
        """When it is of no use any more."""
        return max(self.expires_at_ms, self.stale_until_ms)

    def may_stand_in(self, now_ms: int, max_stale_seconds: int) -> bool:
        """Return whether it may be given where the upstream fails: fresh, or expired by up to *max_stale_seconds*."""
        return now_ms < max(
            self.expires_at_ms, min(self.stale_until_ms, self.expires_at_ms + 1000 * max_stale_seconds)
        )

    def age_seconds(self, now_ms: int) -> int:
        """Return how old the answer is."""
        return max(0, now_ms - self.stored_at_ms) // 1000


def encode_answer(answer: StoredAnswer) -> bytes:
    """Return *answer* as bytes for a tier outside this process."""
    notes = _encode_notes((answer.headers, answer.tagged))
    facts = _FACTS.pack(
        answer.stored_at_ms,
        answer.expires_at_ms,
        answer.stale_until_ms,
        answer.source_event.bytes,
        *answer.pools,
        answer.output_reasoning,
        answer.units,
        QUALITIES.index(answer.quality),
        len(notes),
    )
    checksum = zlib.crc32(answer.body, zlib.crc32(notes, zlib.crc32(facts)))
    return b"".join((_PREFIX.pack(MAGIC, checksum), facts, notes, answer.body))


def decode_answer(value: bytes) -> StoredAnswer | None:
    """Return the answer in *value*, or None where the bytes are damaged or of another version."""
    if len(value) < _NOTES_OFFSET:
        return None
    magic, checksum = _PREFIX.unpack_from(value)
    if magic != MAGIC or checksum != zlib.crc32(memoryview(value)[_PREFIX.size :]):
        return None
    stored_at_ms, expires_at_ms, stale_until_ms, source, *counts, quality, size = _FACTS.unpack_from(
        value, _PREFIX.size
    )
    *pools, output_reasoning, units = counts
    headers, tagged = _decode_notes(value[_NOTES_OFFSET : _NOTES_OFFSET + size])
    return StoredAnswer(
        body=value[_NOTES_OFFSET + size :],
        headers=headers,
        tagged=tagged,
        source_event=UUID(bytes=source),
        stored_at_ms=stored_at_ms,
        expires_at_ms=expires_at_ms,
        stale_until_ms=stale_until_ms,
        pools=TokenPools(*pools),
        output_reasoning=output_reasoning,
        units=units,
        quality=QUALITIES[quality],
    )


def is_of_another_layout(value: bytes) -> bool:
    """Return whether *value* is an answer as another version of this program writes it."""
    return value[:3] == MAGIC[:3] and value[:4] != MAGIC
