"""Who hits what in a stream of questions, and what is right."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.quality.deciders import Distance, asked, threshold_of
from benchmarks.quality.streams import Stream, of_pairs
from cacheproxy.semantic.encoder import Vectors
from cacheproxy.semantic.training import LabelledPair


class Numbered:
    """An encoder for which every text points its own way."""

    name = "numbered"

    def encode_now(self, texts: Sequence[str]) -> Vectors:
        return np.eye(max(len(texts), 2), dtype=np.float32)[: len(texts)]


def at_angles(*degrees: float) -> Stream:
    radians = [math.radians(each) for each in degrees]
    vectors = np.array([[math.cos(each), math.sin(each)] for each in radians], np.float32)
    texts = [f"{each}" for each in degrees]
    return Stream("angles", texts, vectors, texts, range(len(texts)), None)


def test_labels_hold_through_other_pairs() -> None:
    pairs = [LabelledPair("a", "b", True), LabelledPair("b", "c", True), LabelledPair("c", "d", False)]
    stream = of_pairs([*pairs, LabelledPair("e", "f", False)], Numbered())
    a, c, d, e = (stream.texts.index(text) for text in "acde")
    assert [stream.same(c, a), stream.same(d, a), stream.same(e, a)] == [True, False, None]


@pytest.mark.parametrize(("degrees", "hits"), [(53, True), (54, False)])
def test_the_default_of_gptcache_is_a_cosine_of_three_fifths(degrees: float, hits: bool) -> None:
    stream = at_angles(0, degrees)
    assert threshold_of(0.6) == 0.8
    assert asked(stream, Distance(stream, 0.8)).found == [None, 0 if hits else None]


def test_what_hits_is_not_kept_and_the_nearest_serves() -> None:
    stream = at_angles(0, 20, 60, 45)
    assert asked(stream, Distance(stream, threshold_of(0.9))).found == [None, 0, None, 2]
