"""What is known of words beside the pair: how rare they are, and which mean nearly the same. Arrays, small. Plain."""

from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Knowledge:
    """Rarity of stems and directions of words, both by the CRC-32 of the word: no text is kept."""

    def __init__(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        self.arrays = arrays
        self._rarity = dict(zip(arrays["stem_keys"].tolist(), arrays["stem_rarity"].tolist(), strict=True))
        self._most = float(arrays["stem_rarity"].max(initial=0))
        self._row = {key: row for row, key in enumerate(arrays["word_keys"].tolist())}
        self._vectors = arrays["word_vectors"].astype(np.float32) / 127
        self._nothing = np.zeros(self._vectors.shape[1], np.float32)
        self.vector = lru_cache(maxsize=16_384)(self._vector)

    def rarity(self, stem: str) -> float:
        """Return the inverse document frequency of *stem*, 0 to 1; 1 for one never seen."""
        return float(self._rarity.get(crc32(stem.encode()), self._most)) / self._most

    def likeness(self, left: Sequence[str], right: Sequence[str]) -> Floats:
        """Return how near in meaning each word of *left* is to each of *right*, -1 to 1; 0 for unknown words."""
        return (
            np.stack([self.vector(word) for word in left]) @ np.stack([self.vector(word) for word in right]).T
        )

    def _vector(self, word: str) -> Floats:
        row = self._row.get(crc32(word.encode()))
        if row is None:
            return self._nothing
        vector: Floats = self._vectors[row]
        return vector / (np.linalg.norm(vector) or 1)
