"""A stored answer as bytes, for a tier outside this process.

A fixed head, big-endian, in the clear, then the facts, the answer's own headers, its tags and who paid for it,
and its body as it came, wrapped as `at_rest.py` does it.

====================  =====  ==========================================================
magic ``zra5``        4      the version of this layout
checksum              4      CRC-32 of the key and everything after it: a damaged value, or another key's, is no answer
stored_at_ms          8      since the epoch
expires_at_ms         8      since the epoch; a script in Redis reads it at this place
stale_until_ms        8      since the epoch; 0: never given once it has expired
flags                 1      how the rest is wrapped; from here on it is
source_event          16     the event of the miss that paid
pools                 5 × 8  input, cache_read, cache_write, cache_write_1h, output
output_reasoning      8
units                 8
took_us               8      what the upstream took; 0: not known
quality               1      index into ``QUALITIES``
notes_size            4      bytes of headers, tags and payer that follow, as MessagePack
====================  =====  ==========================================================
"""

import logging
import struct
import zlib
from functools import partial
from uuid import UUID

import msgspec

from cacheproxy.cache.answer import MAX_ANSWER_BYTES, QUALITIES, Headers, StoredAnswer
from cacheproxy.cache.at_rest import AtRest, Damaged, Foreign, at_length
from cacheproxy.cache.epochs import Tagged
from metering.tokens import TokenPools

logger = logging.getLogger(__name__)

MAGIC = b"zra5"

_PREFIX = struct.Struct(">4sI")
_TIMES = struct.Struct(">qqq")
_FACTS = struct.Struct(">16s5qqqqBI")
_WRAPPED_AT = _PREFIX.size + _TIMES.size
_encode_notes = msgspec.msgpack.Encoder().encode


class _Notes(msgspec.Struct, array_like=True):
    headers: Headers
    tagged: Tagged | None = None
    paid_by: int = 0


_decode_notes = msgspec.msgpack.Decoder(_Notes).decode


class AnswerCodec:
    """Writes answers and reads them, and counts what it cannot read."""

    def __init__(self, at_rest: AtRest, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self.damaged = 0
        self.foreign = 0
        """Read in vain: of another version of this program, or sealed with other keys."""
        self._at_rest = at_rest
        self._max_answer_bytes = max_answer_bytes

    def takes(self, answer: StoredAnswer) -> bool:
        """Return whether *answer* is not too large to be kept."""
        return len(answer.body) <= self._max_answer_bytes

    async def write(self, key: bytes, answer: StoredAnswer) -> bytes:
        """Return *answer* as bytes to be kept under *key*, and read under that key only where values are sealed."""
        return await at_length(len(answer.body), partial(encode_answer, self._at_rest, key, answer))

    async def read(self, key: bytes, value: bytes) -> StoredAnswer | None:
        """Return the answer in *value*, as found under *key*; None where there is none to be read, which is counted."""
        try:
            return await at_length(len(value), partial(decode_answer, self._at_rest, key, value))
        except Foreign:
            self.foreign += 1
        except Damaged:
            self.damaged += 1
            logger.warning("A damaged answer in Redis was ignored (%d so far).", self.damaged)
        return None


def encode_answer(at_rest: AtRest, key: bytes, answer: StoredAnswer) -> bytes:
    """Return *answer* as bytes to be kept under *key*."""
    notes = _encode_notes((answer.headers, answer.tagged, answer.paid_by))
    facts = _FACTS.pack(
        answer.source_event.bytes,
        *answer.pools,
        answer.output_reasoning,
        answer.units,
        answer.took_us,
        QUALITIES.index(answer.quality),
        len(notes),
    )
    times = _TIMES.pack(answer.stored_at_ms, answer.expires_at_ms, answer.stale_until_ms)
    wrapped = at_rest.wrap(key, MAGIC + times, b"".join((facts, notes, answer.body)))
    return b"".join((_PREFIX.pack(MAGIC, zlib.crc32(wrapped, zlib.crc32(key + times))), times, wrapped))


def decode_answer(at_rest: AtRest, key: bytes, value: bytes) -> StoredAnswer:
    """Return the answer in *value*, which was found under *key*.

    Raises:
        Foreign: it is of another version, or not wrapped as answers are here.
        Damaged: it is not what was written under this key.
    """
    if len(value) < _PREFIX.size or value[:3] != MAGIC[:3]:
        raise Damaged
    magic, checksum = _PREFIX.unpack_from(value)
    if magic != MAGIC:
        raise Foreign
    if (
        checksum != zlib.crc32(memoryview(value)[_PREFIX.size :], zlib.crc32(key))
        or len(value) <= _WRAPPED_AT
    ):
        raise Damaged
    times = value[_PREFIX.size : _WRAPPED_AT]
    payload = at_rest.unwrap(key, MAGIC + times, value[_WRAPPED_AT:])
    try:
        return _read(times, payload)
    except (struct.error, IndexError, msgspec.DecodeError) as problem:
        raise Damaged from problem


def _read(times: bytes, payload: bytes) -> StoredAnswer:
    stored_at_ms, expires_at_ms, stale_until_ms = _TIMES.unpack(times)
    source, *counts, quality, size = _FACTS.unpack_from(payload)
    *pools, output_reasoning, units, took_us = counts
    body_at = _FACTS.size + size
    notes = _decode_notes(payload[_FACTS.size : body_at])
    return StoredAnswer(
        body=payload[body_at:],
        headers=notes.headers,
        tagged=notes.tagged,
        paid_by=notes.paid_by,
        source_event=UUID(bytes=source),
        stored_at_ms=stored_at_ms,
        expires_at_ms=expires_at_ms,
        stale_until_ms=stale_until_ms,
        pools=TokenPools(*pools),
        output_reasoning=output_reasoning,
        units=units,
        took_us=took_us,
        quality=QUALITIES[quality],
    )
