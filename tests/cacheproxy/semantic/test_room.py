"""Vectors of any encoder in the room that PostgreSQL has for them."""

import numpy as np
import pytest

from cacheproxy.semantic.budget.rules import CELLS
from cacheproxy.semantic.room import DIMENSIONS, cells_of, fit, from_halfvec, to_halfvec
from tests.cacheproxy.semantic.entries import near, vectors

RANDOM = np.random.default_rng(11)


def pairs(length: int, cosine: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    one = RANDOM.standard_normal((count, length), dtype=np.float32)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    aside = RANDOM.standard_normal((count, length), dtype=np.float32)
    aside -= (aside * one).sum(axis=1, keepdims=True) * one
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return one, (cosine * one + np.sqrt(1 - cosine**2) * aside).astype(np.float32)


@pytest.mark.parametrize("length", [64, DIMENSIONS])
def test_short_vectors_keep_their_cosines(length: int) -> None:
    left, right = pairs(length, 0.9, 20)
    fitted = (fit(left) * fit(right)).sum(axis=1)
    assert fit(left).shape == (20, DIMENSIONS)
    np.testing.assert_allclose(fitted, 0.9, atol=1e-5)


@pytest.mark.parametrize("length", [768, 1024, 1536, 3072])
def test_long_vectors_keep_their_cosines_nearly(length: int) -> None:
    left, right = pairs(length, 0.9, 500)
    fitted = (fit(left) * fit(right)).sum(axis=1)
    np.testing.assert_allclose(np.linalg.norm(fit(left), axis=1), 1, atol=1e-5)
    assert abs(fitted.mean() - 0.9) < 0.005
    assert fitted.std() < 0.013


def test_a_projection_is_always_the_same() -> None:
    left, _ = pairs(1024, 0.9, 2)
    assert (fit(left) == fit(left.copy())).all()
    signs = np.sign(fit(np.eye(1024, dtype=np.float32)[:1])[0, :8])
    assert signs.tolist() == [-1, -1, -1, -1, -1, -1, 1, -1]


def test_half_floats_travel() -> None:
    (vector,), _ = pairs(DIMENSIONS, 0.9, 1)
    value = to_halfvec(vector)
    assert value[:4] == b"\x01\x80\x00\x00"
    assert len(value) == 4 + 2 * DIMENSIONS
    np.testing.assert_allclose(from_halfvec(value), vector, atol=1e-4)


def test_vectors_fall_into_all_cells_and_near_ones_mostly_into_the_same() -> None:
    drawn = vectors(500)
    cells = cells_of(drawn)
    assert set(cells) == set(range(CELLS))
    neighbours = cells_of(np.stack([near(vector, 0.98) for vector in drawn]))
    assert sum(map(int.__eq__, cells, neighbours)) > 350
    assert cells_of(drawn[:3]) == cells[:3]
