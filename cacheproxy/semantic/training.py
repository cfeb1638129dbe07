"""How a verifier is trained: labelled pairs in, a model file and its figures out. The same seed gives the same bytes.

Needs LightGBM and an encoder, which the gateway does not. Pairs that a guard refuses teach too, and count as misses
when the others are measured. Pairs that share a text, straight or through others, fall into one fold, so that no
question is judged by a model that was trained on it. Groups written for the purpose teach in every fold, and are not
measured.
"""

import gzip
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import lightgbm
import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.alignment import Pair
from cacheproxy.semantic.card import Traffic
from cacheproxy.semantic.features import figures
from cacheproxy.semantic.forest import pack
from cacheproxy.semantic.guards import refused_by
from cacheproxy.semantic.knowledge import Floats, Knowledge
from cacheproxy.semantic.question import Question, read
from cacheproxy.semantic.survey import Survey, survey, surveyed
from cacheproxy.semantic.verifier import FORMAT, Tuning, sketch

SKETCH_AXES = 48
WORD_AXES = 32
CHUNK_TEXTS = 2000
NEWTON_STEPS = 25
PARAMETERS = {
    "objective": "binary",
    "min_data_in_leaf": 30,
    "feature_fraction": 0.25,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "extra_trees": True,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
SHAPES = (
    ({"num_leaves": 31, "max_depth": 8, "learning_rate": 0.05}, 500),
    ({"num_leaves": 15, "max_depth": 6, "learning_rate": 0.05}, 800),
)
"""Of the forests whose mean is the score: what makes each another, and its trees."""
TAUGHT = Path(__file__).with_name("taught.json")
Say = Callable[[str], None]


class EncodesNow(Protocol):
    """An encoder that may be asked outside an event loop."""

    name: str

    def encode_now(self, texts: Sequence[str]) -> Floats:
        """Return the unit vectors of *texts*."""


class LabelledPair(NamedTuple):
    """Two texts, and whether people call them one question."""

    a: str
    b: str
    duplicate: bool
    measured: bool = True
    """Whether it may be judged; one that may not teaches in every fold."""


class Lesson(NamedTuple):
    """All that is known of the pairs before anything is learned from their labels."""

    figures: Floats
    """A row for each pair, without its territory's; those that are measured come first."""
    measured: int
    """How many are."""
    survey: Survey
    refusals: list[str | None]
    cosines: Floats
    labels: NDArray[np.bool_]
    arrays: dict[str, NDArray[Any]]
    """Of the model, but for the forest and what is measured."""


def load_pairs(path: Path) -> list[LabelledPair]:
    """Return the pairs in *path*: JSON lines with `a`, `b` and `duplicate` (0 or 1), perhaps compressed by gzip."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [LabelledPair(row["a"], row["b"], bool(row["duplicate"])) for row in rows]


def load_groups(path: Path = TAUGHT) -> list[LabelledPair]:
    """Return the pairs in *path*, which nothing measures: the wordings of each group, and what differs from all."""
    groups = json.loads(path.read_text("utf-8"))["groups"]
    return [
        LabelledPair(a, b, duplicate, measured=False)
        for group in groups
        for duplicate, found in (
            (True, combinations(group["same"], 2)),
            (False, product(group["same"], [each["text"] for each in group["different"]])),
        )
        for a, b in found
    ]


def encode(texts: Sequence[str], encoder: EncodesNow, folder: Path, say: Say) -> Floats:
    """Return the vectors of *texts*; what *folder* has of them from an earlier run is not computed again."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for first in range(0, len(texts), CHUNK_TEXTS):
        chunk = texts[first : first + CHUNK_TEXTS]
        digest = hashlib.sha256("\0".join([encoder.name, *chunk]).encode()).hexdigest()[:24]
        path = folder / f"{digest}.npy"
        if not path.exists():
            np.save(path, encoder.encode_now(chunk))
            say(f"encoded {first + len(chunk):,} of {len(texts):,} texts")
        rows.append(np.load(path))
    return np.concatenate(rows)


def prepare(
    pairs: Sequence[LabelledPair], words: Sequence[str], encoder: EncodesNow, folder: Path, say: Say
) -> Lesson:
    """Return the lesson that *pairs* make; *words* are those whose meaning the model is to know by heart."""
    pairs = sorted(pairs, key=lambda pair: not pair.measured)
    measured = sum(pair.measured for pair in pairs)
    new, stored = _vectors(pairs, measured, encoder, folder, say)
    vectors = np.concatenate([new[:measured], stored[:measured]])
    questions = [(read(pair.a), read(pair.b)) for pair in pairs]
    mean, axes = (each.astype(np.float16) for each in main_axes(vectors, SKETCH_AXES))
    arrays = {
        "format": np.array(FORMAT),
        "encoder": np.array(encoder.name),
        "sketch_mean": mean,
        "sketch_axes": axes,
        **rarities([question for pair in questions[:measured] for question in pair]),
        **meanings(words, encode(words, encoder, folder, say)),
    }
    cosines = np.einsum("ij,ij->i", new, stored)
    sketches = sketched(new, mean, axes), sketched(stored, mean, axes)
    rows, refusals = _figures(questions, cosines, sketches, arrays, say)
    labels = np.array([pair.duplicate for pair in pairs])
    found = survey(sketches, cosines, labels, grouped(pairs), measured)
    return Lesson(rows, measured, found, refusals, cosines, labels, {**arrays, **found.arrays})


def _vectors(
    pairs: Sequence[LabelledPair], measured: int, encoder: EncodesNow, folder: Path, say: Say
) -> tuple[Floats, Floats]:
    new, stored = [], []
    for part in (pairs[:measured], pairs[measured:]):
        if part:
            found = encode([pair.a for pair in part] + [pair.b for pair in part], encoder, folder, say)
            new.append(found[: len(part)])
            stored.append(found[len(part) :])
    return np.concatenate(new), np.concatenate(stored)


def main_axes(vectors: Floats, count: int) -> tuple[Floats, Floats]:
    """Return the mean of *vectors* and the *count* axes along which they vary most, as columns."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    apart = vectors - mean
    _, axes = np.linalg.eigh(apart.T @ apart)
    axes = axes[:, ::-1][:, :count]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(count)])  # an eigenvector's sign is arbitrary
    return mean.astype(np.float32), axes.astype(np.float32)


def sketched(vectors: Floats, mean: NDArray[np.float16], axes: NDArray[np.float16]) -> Floats:
    """Return the sketches of *vectors* as a verifier reads them back."""
    return sketch(vectors, mean.astype(np.float32), axes.astype(np.float32)).astype(np.float32)


def rarities(questions: Sequence[Question]) -> dict[str, NDArray[Any]]:
    """Return how rare each stem is that more than one question has, by the CRC-32 of the stem."""
    counts = Counter(stem for question in questions for stem in {word.stem for word in question.words})
    most = math.log(len(questions))
    kept = {crc32(stem.encode()): math.log(len(questions) / n) / most for stem, n in counts.items() if n > 1}
    keys = sorted(kept)
    return {
        "stem_keys": np.array(keys, np.uint32),
        "stem_rarity": np.array([round(255 * kept[key]) for key in keys], np.uint8),
    }


def meanings(words: Sequence[str], vectors: Floats) -> dict[str, NDArray[Any]]:
    """Return the vectors of *words* on their main axes in 8 bits, by the CRC-32 of the word."""
    mean, axes = main_axes(vectors, WORD_AXES)
    turned = (vectors - mean) @ axes
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    keys = np.array([crc32(word.encode()) for word in words], np.uint32)
    order = np.argsort(keys, kind="stable")
    return {"word_keys": keys[order], "word_vectors": np.round(127 * turned[order]).astype(np.int8)}


def grouped(pairs: Sequence[LabelledPair]) -> NDArray[np.intp]:
    """Return a number for each pair, the same for pairs that share a text, straight or through others."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = text = parent[parent[text]]
        return text

    for pair in pairs:
        parent[root(_plain(pair.a))] = root(_plain(pair.b))
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(root(_plain(pair.a)), len(numbers)) for pair in pairs])


def ungrouped(lesson: Lesson) -> Lesson:
    """Return *lesson* with each pair a group of its own, as if no two pairs shared a text."""
    alone = lesson.survey._replace(groups=np.arange(len(lesson.labels)))
    return lesson._replace(survey=alone)


def cross_validate(lesson: Lesson, folds: int, seed: int, say: Say) -> Floats:
    """Return for each measured pair the logit of a model that never saw its group; minus infinity where refused."""
    groups, last = lesson.survey.groups, lesson.measured
    fold = np.random.default_rng(seed).integers(folds, size=groups.max() + 1)[groups]
    fold[last:] = folds
    told = surveyed(lesson.survey, fold[:, None] != np.arange(folds))
    passed = np.array([refusal is None for refusal in lesson.refusals])
    logits = np.full(len(lesson.labels), -np.inf)
    for number in range(folds):
        rows = np.hstack([lesson.figures, told[:, number]])
        seen, unseen = teaching(lesson) & (fold != number), passed & (fold == number)
        boosters = fit(rows[seen], lesson.labels[seen], seed)
        logits[unseen] = np.mean([each.predict(rows[unseen], raw_score=True) for each in boosters], axis=0)
        say(f"fold {number + 1} of {folds}: trained on {seen.sum():,} pairs, judged {unseen.sum():,}")
    return logits[:last]


def teaching(lesson: Lesson) -> NDArray[np.bool_]:
    """Return which pairs are learned from: all but those of the groups that a guard refuses, for no score sees such."""
    measured = np.arange(len(lesson.labels)) < lesson.measured
    learned: NDArray[np.bool_] = measured | np.array([refusal is None for refusal in lesson.refusals])
    return learned


def calibration(logits: Floats, labels: NDArray[np.bool_], traffic: Traffic) -> tuple[float, float]:
    """Return the slope and the shift that make *logits* the log odds of a repetition in *traffic*.

    Logistic regression by Newton's method, each pair weighted for the share that its kind has in the traffic.
    """
    seen = np.isfinite(logits)
    rows = np.stack([logits[seen], np.ones(seen.sum())], axis=1).astype(np.float64)
    same = labels[seen]
    weights = np.where(same, traffic.rewordings / labels.sum(), traffic.near_misses / (~labels).sum())
    both = np.array([1.0, 0.0])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-rows @ both))
        spread = (rows * (weights * chance * (1 - chance))[:, None]).T @ rows
        both += np.linalg.solve(spread, rows.T @ (weights * (same - chance)))
    return float(both[0]), float(both[1])


def calibrated(logits: Floats, slope: float, shift: float) -> Floats:
    """Return *logits* as scores, 0 to 1; 0 for minus infinity."""
    with np.errstate(over="ignore"):
        scores: Floats = 1 / (1 + np.exp(-(slope * logits + shift)))
    return scores


def fit(rows: Floats, labels: NDArray[np.bool_], seed: int) -> list[lightgbm.Booster]:
    """Return forests that tell the *labels* from the *rows*: their mean errs less than each."""
    return [
        lightgbm.train(
            {**PARAMETERS, **shape, "seed": seed},
            lightgbm.Dataset(rows, labels.astype(np.int8)),
            trees,
        )
        for shape, trees in SHAPES
    ]


def finish(lesson: Lesson, seed: int, tuning: Tuning) -> dict[str, NDArray[Any]]:
    """Return the arrays of a verifier trained on all pairs."""
    told = surveyed(lesson.survey, np.ones((len(lesson.labels), 1), bool))[:, 0]
    rows, taught = np.hstack([lesson.figures, told]), teaching(lesson)
    boosters = fit(rows[taught], lesson.labels[taught], seed)
    trees = pack([each.dump_model()["tree_info"] for each in boosters])
    return {**lesson.arrays, **trees, "tuning": np.array(tuning, np.float64)}


def save(arrays: dict[str, NDArray[Any]], path: Path) -> str:
    """Write a model to *path* and return its SHA-256: the same arrays always make the same file."""
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _figures(
    questions: Sequence[tuple[Question, Question]],
    cosines: Floats,
    sketches: tuple[Floats, Floats],
    arrays: dict[str, NDArray[Any]],
    say: Say,
) -> tuple[Floats, list[str | None]]:
    knowledge = Knowledge(arrays)
    refusals, rows = [], []
    for at, (first, second) in enumerate(questions):
        pair = Pair(first, second)
        refusal = refused_by(pair)
        refusals.append(refusal)
        both = sketches[0][at], sketches[1][at]
        rows.append(figures(pair, float(cosines[at]), both, knowledge, refused=refusal is not None))
    say(f"read {len(questions):,} pairs; guards refuse {sum(map(bool, refusals)):,}")
    return np.stack(rows), refusals


def vocabulary(path: Path) -> Iterator[str]:
    """Yield the whole lower-case words of a tokenizer's file, in its order."""
    for word in json.loads(path.read_text())["model"]["vocab"]:
        if word.isascii() and word.isalpha() and word.islower() and len(word) > 1:
            yield word


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
