"""Landmarks are set, and what they say of the pairs that they are made of, each pair's own kin left out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.knowledge import Floats
from cacheproxy.semantic.territory import HORIZON, NEAR, REACHES, said, unit, weighed

LEAST_COSINE = 0.6
"""Of a landmark's two texts: pairs further apart tell nothing."""
BANDS = 20
BLOCK = 500


class Survey(NamedTuple):
    """Where pairs lie, and which are landmarks."""

    places: Floats
    """Of all pairs."""
    landmarks: NDArray[np.intp]
    groups: NDArray[np.intp]
    arrays: Mapping[str, NDArray[Any]]
    """As a model keeps them."""


def survey(
    sketches: tuple[Floats, Floats],
    cosines: Floats,
    labels: NDArray[np.bool_],
    groups: NDArray[np.intp],
    measured: int,
) -> Survey:
    """Return the landmarks among the first, *measured* pairs of these *sketches*.

    A surprise is the label less what its cosine promised.
    """
    cosines, labels = cosines[:measured], labels[:measured]
    edges = np.quantile(cosines, np.linspace(0, 1, BANDS + 1)[1:-1])
    band = np.digitize(cosines, edges)
    promised = np.array([labels[band == number].mean() for number in range(BANDS)])[band]
    places = unit(sketches[0] + sketches[1])
    landmarks = np.flatnonzero(cosines > LEAST_COSINE)
    arrays = {
        "landmark_places": np.round(127 * places[landmarks] / np.abs(places).max()).astype(np.int8),
        "landmark_surprises": np.round(127 * (labels - promised)[landmarks]).astype(np.int8),
        "landmark_near": cosines[landmarks] > NEAR,
    }
    return Survey(places, landmarks, groups, arrays)


def surveyed(found: Survey, allowed: NDArray[np.bool_]) -> Floats:
    """Return the figures of all pairs as *allowed* landmarks tell them, a row each, without those of its own group.

    *allowed* says for each pair whether it may speak; as columns, one for each of several answers in one go.
    """
    places = unit(found.arrays["landmark_places"].astype(np.float32))
    speech = said(found.arrays["landmark_surprises"], found.arrays["landmark_near"])
    columns = allowed[found.landmarks].astype(np.float32)
    spoken = (speech[:, None, :] * columns[:, :, None]).reshape(len(speech), -1)
    blocks = []
    for first in range(0, len(found.places), BLOCK):
        alike = found.places[first : first + BLOCK] @ places.T
        kin = found.groups[first : first + BLOCK, None] == found.groups[found.landmarks]
        alike[kin | (alike <= HORIZON)] = -np.inf
        sums = [(np.exp((alike - 1) / reach) @ spoken).reshape(len(alike), -1, 4) for reach in REACHES]
        blocks.append(np.concatenate([weighed(each) for each in sums], axis=-1))
    return np.concatenate(blocks)
