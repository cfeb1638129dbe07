"""What the tests of the store act on: vectors at a stated cosine, and entries of them."""

from datetime import UTC, datetime, timedelta

import numpy as np

from cacheproxy.semantic.room import DIMENSIONS
from cacheproxy.semantic.store import Entry, Vector

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ACME, STRANGER = b"acme's context..", b"a stranger's....."
RANDOM = np.random.default_rng(7)


def vectors(count: int) -> Vector:
    drawn: Vector = RANDOM.standard_normal((count, DIMENSIONS), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def near(vector: Vector, cosine: float) -> Vector:
    """Return a unit vector at *cosine* from *vector*."""
    aside = vectors(1)[0]
    aside -= aside @ vector * vector
    aside /= np.linalg.norm(aside)
    other: Vector = (cosine * vector + (1 - cosine**2) ** 0.5 * aside).astype(np.float32)
    return other


def entry(vector: Vector, name: str, *, context: bytes = ACME, expires_at: datetime = NOW + HOUR) -> Entry:
    return Entry(
        context,
        f"k1:{name}".encode(),
        1,
        b"scope",
        "qwen-small",
        "1",
        3,
        NOW,
        expires_at,
        name.encode(),
        vector,
    )
