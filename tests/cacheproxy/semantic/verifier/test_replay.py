"""Traffic written for this project, replayed: what hits of it, at the default threshold.

Two lists were learned from. The unseen ones are for counting only: whoever improves the verifier looks at the others.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.tier import CANDIDATES
from cacheproxy.semantic.verifier import Reading, Verifier

RECORDINGS = Path(__file__).parents[3] / "recordings"


class Counts(NamedTuple):
    """How many of each kind hit; a rewording that hits another seed than its own is wrong."""

    rewordings: int
    wrong: int
    fresh: int
    traps: int


class Store:
    """The seeds, found as the tier finds them: by the nearest vectors."""

    def __init__(self, encoder: LocalEncoder, seeds: list[dict[str, Any]]) -> None:
        self._encoder, self._verifier = encoder, Verifier.load()
        self._ids = [seed["id"] for seed in seeds]
        texts = [seed["text"] for seed in seeds]
        self._vectors = encoder.encode_now(texts)
        self._readings = [self._read(text, vector) for text, vector in zip(texts, self._vectors, strict=True)]

    def hit(self, text: str) -> str | None:
        """Return the seed whose answer would be served."""
        vector = self._encoder.encode_now([text])[0]
        new, cosines = self._read(text, vector), self._vectors @ vector
        scores = {
            self._ids[at]: self._verifier.judge(new, self._readings[at], float(cosines[at])).score
            for at in np.argsort(-cosines)[:CANDIDATES]
        }
        best = max(scores, key=scores.__getitem__)
        return best if scores[best] >= self._verifier.threshold else None

    def _read(self, text: str, vector: Any) -> Reading:
        return Reading.unpack(self._verifier.read(text, vector).pack())


def replayed(name: str, encoder: LocalEncoder) -> Counts:
    traffic = json.loads((RECORDINGS / f"{name}.json").read_text())
    store = Store(encoder, traffic["seeds"])
    rewordings = [(store.hit(each["text"]), each["of"]) for each in traffic["rewordings"]]
    return Counts(
        rewordings=sum(hit == seed for hit, seed in rewordings),
        wrong=sum(hit is not None and hit != seed for hit, seed in rewordings),
        fresh=sum(store.hit(each["text"]) is not None for each in traffic["fresh"]),
        traps=sum(store.hit(each["text"]) is not None for each in traffic["traps"]),
    )


def test_the_list_for_development(quantised_encoder: LocalEncoder) -> None:
    counts = replayed("semantic_development", quantised_encoder)

    assert counts.rewordings >= 46
    assert (counts.wrong, counts.fresh, counts.traps) == (0, 0, 0)


def test_the_list_that_was_held_out_until_it_was_learned_from(quantised_encoder: LocalEncoder) -> None:
    counts = replayed("semantic_replay", quantised_encoder)

    assert counts.rewordings >= 46
    assert (counts.wrong, counts.fresh, counts.traps) == (0, 0, 0)


@pytest.mark.parametrize(("name", "rewordings", "traps"), [("fresh", 43, 3), ("unseen", 39, 1)])
def test_the_lists_that_nobody_looked_at(
    name: str, rewordings: int, traps: int, quantised_encoder: LocalEncoder
) -> None:
    counts = replayed(f"semantic_{name}", quantised_encoder)

    assert counts.rewordings >= rewordings
    assert counts.traps <= traps
    assert (counts.wrong, counts.fresh) == (0, 0)
