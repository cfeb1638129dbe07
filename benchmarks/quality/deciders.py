"""Who decides whether a kept answer serves a question: thresholds on the distance, our verifier, our error budget."""

import random
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.streams import Stream
from cacheproxy.semantic.budget.budget import Budget
from cacheproxy.semantic.budget.rules import LEAST_SCORE, Rules, region_of
from cacheproxy.semantic.encoder import Vectors
from cacheproxy.semantic.room import cells_of
from cacheproxy.semantic.tier import CANDIDATES
from cacheproxy.semantic.verifier import Reading, Verifier

MAX_DISTANCE = 4.0
"""Of unit vectors, as the square of the Euclidean distance, which is what GPTCache's vectors are searched by."""


class Outcome(NamedTuple):
    """What came of a stream."""

    found: Sequence[int | None]
    """Of each question: the number of the one whose answer it got."""
    taken_us: Sequence[int]
    """For search and decision; vectors are given."""


class Decider(Protocol):
    """A cache's judgement; it keeps what it needs of the questions it is told to keep."""

    def find(self, number: int) -> int | None:
        """Return the number of the kept question whose answer this one gets."""

    def keep(self, number: int) -> None:
        """Keep a question that got none."""


def asked(stream: Stream, decider: Decider) -> Outcome:
    """Ask one question of *stream* after the other; what is no hit is kept."""
    found, taken_us = [], []
    for number in range(len(stream.texts)):
        started_ns = time.perf_counter_ns()
        hit = decider.find(number)
        taken_us.append((time.perf_counter_ns() - started_ns) // 1000)
        found.append(hit)
        if hit is None:
            decider.keep(number)
    return Outcome(found, taken_us)


class _Kept:
    """The vectors kept so far, searched by comparing all of them."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._kept = np.empty_like(vectors)
        self._numbers: list[int] = []

    def keep(self, number: int) -> None:
        self._kept[len(self._numbers)] = self._vectors[number]
        self._numbers.append(number)

    def nearest(self, number: int, limit: int) -> list[tuple[int, float]]:
        """Return numbers and cosines, nearest first."""
        cosines = self._kept[: len(self._numbers)] @ self._vectors[number]
        if limit == 1:
            places: NDArray[np.intp] = cosines.argmax(keepdims=True) if len(cosines) else cosines.argsort()
        else:
            places = np.argsort(-cosines)[:limit]
        return [(self._numbers[place], float(cosines[place])) for place in places]


class Distance:
    """GPTCache's default evaluation: the nearest question serves if it is near enough.

    Four less the squared distance of unit vectors has to reach *threshold* × four.
    """

    def __init__(self, stream: Stream, threshold: float) -> None:
        self._kept = _Kept(stream.vectors)
        self._threshold = threshold
        self.keep = self._kept.keep

    def find(self, number: int) -> int | None:
        """Return the nearest question if it is near enough."""
        for stored, cosine in self._kept.nearest(number, 1):
            distance = min(max(2 - 2 * cosine, 0.0), MAX_DISTANCE)
            if MAX_DISTANCE - distance >= self._threshold * MAX_DISTANCE:
                return stored
        return None


def threshold_of(cosine: float) -> float:
    """Return the threshold of `Distance` that asks for *cosine*."""
    return (1 + cosine) / 2


class Verified:
    """The verifier over the nearest questions: the one of the highest score serves if the score is high enough."""

    def __init__(self, stream: Stream, verifier: Verifier, threshold: float) -> None:
        self._stream = stream
        self._verifier = verifier
        self._threshold = threshold
        self._kept = _Kept(stream.vectors)
        self._readings: dict[int, Reading] = {}

    def find(self, number: int) -> int | None:
        """Return the best question if it is good enough."""
        best = self.best(number)
        return best[0] if best is not None and best[1] >= self._threshold else None

    def best(self, number: int) -> tuple[int, float] | None:
        """Return the number and the score of the best kept question that no guard refuses."""
        reading = self._verifier.read(self._stream.texts[number], self._stream.vectors[number])
        self._readings[number] = reading
        judged = [
            (stored, self._verifier.judge(reading, self._readings[stored], cosine))
            for stored, cosine in self._kept.nearest(number, CANDIDATES)
        ]
        scores = [(stored, verdict.score) for stored, verdict in judged if verdict.refused_by is None]
        return max(scores, key=lambda each: each[1], default=None)

    def keep(self, number: int) -> None:
        """Keep a question and its reading."""
        self._kept.keep(number)


class Budgeted:
    """The verifier under an error budget whose checks are told the truth, as far as it is known."""

    def __init__(self, stream: Stream, verifier: Verifier, rules: Rules, *, seed: int = 1) -> None:
        self._stream = stream
        self._verified = Verified(stream, verifier, LEAST_SCORE)
        self._budget = Budget(rules, random.Random(seed))
        self._cells = cells_of(stream.vectors)
        self.keep = self._verified.keep

    def find(self, number: int) -> int | None:
        """Return the best question if the budget lets it be served."""
        best = self._verified.best(number)
        if best is None or best[1] < LEAST_SCORE:
            self._budget.decide(None)
            return None
        stored, score = best
        region = region_of(self._cells[stored], score)
        decision = self._budget.decide(region)
        same = self._stream.same(number, stored)
        if decision is not None and decision.check and same is not None:
            self._budget.checked(region, wrong=not same)
        return stored if decision is not None and decision.serve else None
