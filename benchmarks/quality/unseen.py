"""What our verifier makes of labelled pairs that it was not trained on. What takes long is kept between runs."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import path
from cacheproxy.semantic.encoder import Vectors
from cacheproxy.semantic.minilm.files import wheel
from cacheproxy.semantic.training import (
    EncodesNow,
    LabelledPair,
    calibrated,
    cross_validate,
    encode,
    finish,
    grouped,
    load_groups,
    prepare,
    save,
    vocabulary,
)
from cacheproxy.semantic.verifier import DEFAULT_MODEL, Verifier

FOLDS, SEED = 5, 1


class Remembered:
    """An encoder that knows the texts of the pairs by heart."""

    def __init__(self, encoder: EncodesNow, pairs: Sequence[LabelledPair]) -> None:
        self._encoder = encoder
        self.name = encoder.name
        texts = [pair.a for pair in pairs] + [pair.b for pair in pairs]
        words = list(vocabulary(wheel().vocabulary))
        self._known = {
            text: vector
            for known in (texts, words)
            for text, vector in zip(known, encode(known, encoder, path("vectors"), print), strict=True)
        }

    def encode_now(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of *texts*."""
        return np.stack(
            [
                self._known[text] if text in self._known else self._encoder.encode_now([text])[0]
                for text in texts
            ]
        )


def cross_validated(
    pairs: Sequence[LabelledPair], encoder: EncodesNow
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return for each pair the score of a verifier that saw neither of its texts, 0 where refused, and the cosine."""
    file = path(f"vectors/scores-{_digest(pairs)}.npz")
    if not file.exists():
        words = list(vocabulary(wheel().vocabulary))
        lesson = prepare([*pairs, *load_groups()], words, encoder, path("vectors"), print)
        logits = cross_validate(lesson, FOLDS, SEED, print)
        tuning = Verifier.load().tuning
        np.savez(
            file,
            scores=calibrated(logits, tuning.slope, tuning.shift),
            cosines=lesson.cosines[: lesson.measured],
        )
    kept = np.load(file)
    return kept["scores"], kept["cosines"]


def split(pairs: Sequence[LabelledPair]) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """Return four fifths of *pairs* to train on and the rest to ask, no text in both."""
    groups = grouped(pairs)
    fold = np.random.default_rng(SEED).integers(FOLDS, size=groups.max() + 1)[groups]
    seen = [pair for pair, number in zip(pairs, fold, strict=True) if number]
    return seen, [pair for pair, number in zip(pairs, fold, strict=True) if not number]


def trained(pairs: Sequence[LabelledPair], encoder: EncodesNow) -> Verifier:
    """Return a verifier that has seen *pairs* and no others, with the tuning of the one that ships."""
    file = path(f"vectors/verifier-{_digest(pairs)}.npz")
    if not file.exists():
        words = list(vocabulary(wheel().vocabulary))
        lesson = prepare([*pairs, *load_groups()], words, encoder, path("vectors"), print)
        save(finish(lesson, SEED, Verifier.load().tuning), file)
    return Verifier.load(file)


def _digest(pairs: Sequence[LabelledPair]) -> str:
    """Return what stands for *pairs* and for the verifier that ships, and so for the code that made it."""
    told = repr(pairs).encode() + Path(DEFAULT_MODEL).read_bytes()
    return hashlib.sha256(told).hexdigest()[:16]
