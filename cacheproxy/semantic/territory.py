"""What is known of a pair's neighbourhood: were pairs about the like labelled as the same more often than they look?

People call some subjects' questions the same more readily than others', and labels of some are better. Landmarks are
pairs of known labels, each by where it lies and by how far its label was from what its cosine promised. Far from all
of them the figures are zero: what is not known is not made up.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.knowledge import Floats

REACHES = (0.02, 0.08)
"""How fast a landmark's say fades with its distance, 1 less the cosine: to 1/e within each of these."""
LEAST_WEIGHT = 0.05
"""Added below the line, so that distant landmarks decide nothing."""
HORIZON = 0.5
"""The cosine below which a landmark has no say at all."""
NEAR = 0.8
"""The cosine of a landmark's own two texts from which on it counts as near."""
NAMES = tuple(f"{what}_{reach}" for reach in REACHES for what in ("known", "surprise", "surprise_of_near"))


class Territory:
    """Landmarks, by where they lie."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._places = unit(arrays["landmark_places"].astype(np.float32))
        self._said = said(arrays["landmark_surprises"], arrays["landmark_near"])

    def figures(self, new_sketch: Floats, stored_sketch: Floats) -> list[float]:
        """Return the figures of `NAMES` for a pair, from its two sketches."""
        # By einsum, which takes no threads: those of BLAS wait for each other longer than this takes.
        alike = np.einsum("ij,j->i", self._places, unit(new_sketch + stored_sketch))
        seen = np.flatnonzero(alike > HORIZON)
        found: list[float] = []
        for reach in REACHES:
            nearness = np.exp((alike[seen] - 1) / reach)
            found += weighed(np.einsum("i,ij->j", nearness, self._said[seen])).tolist()
        return found


def said(kept: NDArray[Any], near: NDArray[Any]) -> Floats:
    """Return what each landmark adds to the sums that `weighed` takes: a row each; *kept* are surprises in 8 bits."""
    surprises, near = kept.astype(np.float32) / np.float32(127), near.astype(np.float32)
    return np.stack([np.ones_like(surprises), surprises, near, near * surprises], axis=-1)


def weighed(sums: Floats) -> Floats:
    """Return the weight of what is known, the mean surprise, and that of near pairs, from sums over landmarks."""
    weight, surprise, near_weight, near_surprise = np.moveaxis(sums, -1, 0)
    return np.stack(
        [weight, surprise / (weight + LEAST_WEIGHT), near_surprise / (near_weight + LEAST_WEIGHT)], axis=-1
    )


def unit(places: Floats) -> Floats:
    """Return *places* at length 1; one at the origin stays there."""
    lengths = np.linalg.norm(places, axis=-1, keepdims=True)
    units: Floats = np.divide(places, np.maximum(lengths, 1e-9), dtype=np.float32)
    return units
