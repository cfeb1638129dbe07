"""The room that a vector has in PostgreSQL: 384 half floats, whichever encoder it comes from."""

import hashlib
import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.encoder import Vectors

DIMENSIONS = 384

_HEAD = struct.Struct(">HH")


def fit(vectors: Vectors) -> Vectors:
    """Return unit *vectors* of any length as unit vectors of ``DIMENSIONS``.

    Shorter ones are filled up with zeros, which changes no cosine. Longer ones are projected onto as many random
    directions, always the same ones: a cosine of c is then off by about (1 - c²) / √384, which is 0.01 at 0.9.
    """
    length = vectors.shape[1]
    if length <= DIMENSIONS:
        return np.pad(vectors, ((0, 0), (0, DIMENSIONS - length)))
    projected: Vectors = vectors @ directions(length)
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    return projected


@lru_cache(maxsize=8)
def directions(length: int) -> Vectors:
    """Return *length* × ``DIMENSIONS`` signs out of a hash function, which will never draw other ones."""
    drawn = hashlib.shake_256(b"zerorate/%d" % length).digest(length * DIMENSIONS // 8)
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8)).reshape(length, DIMENSIONS)
    return bits.astype(np.float32) * 2 - 1


def cells_of(vectors: Vectors) -> list[int]:
    """Return in which of the error budgets' sixteen cells each vector lies: the signs of four projections."""
    signs = vectors @ directions(vectors.shape[1])[:, :4] > 0
    return [int(cell) for cell in np.packbits(signs, axis=1, bitorder="little")[:, 0]]


def to_halfvec(vector: NDArray[np.float32]) -> bytes:
    """Return *vector* as pgvector's ``halfvec`` is sent in binary: its length, two bytes unused, big-endian floats."""
    return _HEAD.pack(len(vector), 0) + vector.astype(">f2").tobytes()


def from_halfvec(value: bytes) -> NDArray[np.float32]:
    """Return the vector that pgvector sent."""
    return np.frombuffer(value, ">f2", offset=_HEAD.size).astype(np.float32)
