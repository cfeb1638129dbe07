"""How bytes are kept outside this process: compressed where that pays, sealed where there are keys. Plain.

What is kept is one byte of flags, then the payload: compressed first, sealed last (`sealing.py`).
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from cacheproxy.cache.sealing import Keyring

Done = TypeVar("Done")

COMPRESSED = 1
SEALED = 2
COMPRESS_FROM_BYTES = 2048
COMPRESSION_LEVEL = 1
"""A quarter faster than zstd's own default of 3, for answers that become no larger (measured)."""
APART_FROM_BYTES = 32 << 10
"""So much is worked on in a thread: it takes up to 0.3 ms, in which the event loop answers ten others."""
MAX_UNPACKED_BYTES = 256 << 20
"""Nothing larger is unpacked, whatever a damaged value claims."""


class Damaged(Exception):
    """The bytes are not what was written, or not where it was written."""


class Foreign(Exception):
    """They were written with a key that is not known here, or with none where only sealed values count."""


class AtRest:
    """A way of keeping bytes."""

    def __init__(
        self,
        *,
        compress_from_bytes: int = COMPRESS_FROM_BYTES,
        level: int = COMPRESSION_LEVEL,
        keyring: "Keyring | None" = None,
    ) -> None:
        """Compress what has *compress_from_bytes* or more, at zstd's *level*; with a *keyring*, seal all.

        Raises:
            ValueError: zstd has no such level.
        """
        self._compress_from_bytes = compress_from_bytes
        self._compressing = _Compressing(level)
        self._keyring = keyring

    def wrap(self, name: bytes, head: bytes, payload: bytes) -> bytes:
        """Return *payload* as it is to be kept under *name*, beside *head*, which is kept in the clear."""
        flags = 0
        if len(payload) >= self._compress_from_bytes:
            compressed = self._compressing.compressor.compress(payload, zstd.ZstdCompressor.FLUSH_FRAME)
            if len(compressed) < len(payload):
                flags, payload = COMPRESSED, compressed
        if self._keyring is None:
            return bytes((flags,)) + payload
        flag = bytes((flags | SEALED,))
        return flag + self._keyring.seal(name, flag + head, payload)

    def unwrap(self, name: bytes, head: bytes, wrapped: bytes) -> bytes:
        """Return the payload that was wrapped.

        Raises:
            Foreign: it was sealed with another key, or it is not sealed where values are.
            Damaged: it is not what was wrapped for this name and head.
        """
        flag, payload = wrapped[:1], wrapped[1:]
        flags = int.from_bytes(flag)
        if not flag or flags > COMPRESSED | SEALED:
            raise Damaged
        if bool(flags & SEALED) != (self._keyring is not None):
            raise Foreign
        if self._keyring is not None:
            payload = self._keyring.open(name, flag + head, payload)
        return _unpacked(payload) if flags & COMPRESSED else payload


async def at_length(size_bytes: int, work: Callable[[], Done]) -> Done:
    """Return what *work* does with so many bytes; with many of them it is done in a thread."""
    return work() if size_bytes < APART_FROM_BYTES else await asyncio.to_thread(work)


class _Compressing(threading.local):
    """A compressor for each thread: making one costs more than compressing an answer, and it has a lock."""

    def __init__(self, level: int) -> None:
        self.compressor = zstd.ZstdCompressor(level)


def _unpacked(payload: bytes) -> bytes:
    unpacking = zstd.ZstdDecompressor()
    try:
        unpacked = unpacking.decompress(payload, max_length=MAX_UNPACKED_BYTES)
    except zstd.ZstdError as problem:
        raise Damaged from problem
    if not unpacking.eof or unpacking.unused_data:
        raise Damaged
    return unpacked
