"""Texts to vectors, at most once each: an encoder, and a memory of what it gave."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.encoder import Encoder, Vectors

MEMORY_BYTES = 32 << 20
_OVERHEAD_BYTES = 200
"""Of an entry, beside its vector."""


class Embedded(NamedTuple):
    """Vectors, and what they cost."""

    vectors: Vectors
    tokens: int = 0
    """That a model server counted for them; 0 for what was remembered, or encoded in this process."""


class Embedder(Protocol):
    """What gives vectors and says what they cost."""

    @property
    def name(self) -> str:
        """Which vectors these are: those of two names are never compared."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return the unit vectors of *texts*, in order.

        Raises:
            EncoderBusy, EncoderFailed: there are none to be had now.
        """


class Free:
    """An encoder in this process as an embedder."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name = encoder.name

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return the vectors of *texts*, which cost no tokens."""
        return Embedded(await self._encoder.encode(texts))


class Remembering:
    """An embedder that asks another one only for what it does not remember. The least recently used goes first."""

    def __init__(self, embedder: Embedder, *, max_bytes: int = MEMORY_BYTES) -> None:
        self._embedder = embedder
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._vectors: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self.name = embedder.name

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return the vectors of *texts*; what was remembered costs nothing."""
        digests = [blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest() for text in texts]
        known = {digest: vector for digest in digests if (vector := self._vectors.get(digest)) is not None}
        asked = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
        tokens = 0
        if asked:
            embedded = await self._embedder.embed(list(asked.values()))
            known |= zip(asked, embedded.vectors, strict=True)
            tokens = embedded.tokens
        for digest, vector in known.items():
            self._remember(digest, vector)
        return Embedded(np.stack([known[digest] for digest in digests]), tokens)

    def _remember(self, digest: bytes, vector: NDArray[np.float32]) -> None:
        if digest in self._vectors:
            self._vectors.move_to_end(digest)
            return
        self._vectors[digest] = vector.copy()  # a row of a batch would keep the whole batch
        self._held_bytes += vector.nbytes + _OVERHEAD_BYTES
        while self._held_bytes > self._max_bytes:
            _, dropped = self._vectors.popitem(last=False)
            self._held_bytes -= dropped.nbytes + _OVERHEAD_BYTES
