"""The figures on a card, from scores whose outcome is plain."""

import numpy as np
import pytest

from cacheproxy.semantic.card import (
    Limits,
    Traffic,
    at_recall,
    lowest_within,
    points,
    refusals_table,
    reliability,
    upper_bound,
)

SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.0])
LABELS = np.array([True, True, False, True, True])
TRAFFIC = Traffic(rewordings=0.2, near_misses=0.1)


def test_each_score_is_a_threshold_but_nothing() -> None:
    curve = points(SCORES, LABELS)

    assert [(point.threshold, point.hits, point.wrong, point.recall) for point in curve] == [
        (0.9, 1, 0, 0.25),
        (0.8, 2, 0, 0.5),
        (0.7, 3, 1, 0.5),
        (0.6, 4, 1, 0.75),
    ]
    assert [point.wrong_of_hits for point in curve] == [0, 0, pytest.approx(1 / 3), 0.25]


def test_traffic_mixes_repetitions_and_near_misses() -> None:
    worst = points(SCORES, LABELS)[2]

    assert worst.wrong_of_lookups_in(TRAFFIC) == pytest.approx(0.1 * 1)
    assert worst.wrong_of_hits_in(TRAFFIC) == pytest.approx(0.1 / (0.1 + 0.2 * 0.5))


def test_a_share_of_the_duplicates_is_reached_or_not() -> None:
    curve = points(SCORES, LABELS)

    assert at_recall(curve, 0.3) == curve[1]
    assert at_recall(curve, 0.8) is None


@pytest.mark.parametrize(
    ("limits", "threshold"),
    [
        (Limits(0.05, 1.0), 0.301),
        (Limits(1.0, 0.05), 0.301),
        (Limits(1.0, 1.0), 0.001),
        (Limits(1e-9, 1.0), None),
    ],
)
def test_the_threshold_is_the_lowest_that_keeps_both_limits(limits: Limits, threshold: float | None) -> None:
    scores = np.linspace(0.001, 1, 1000)
    labels = scores > 0.3

    chosen = lowest_within(points(scores, labels), int((~labels).sum()), TRAFFIC, limits)

    if threshold is None:
        assert chosen is None
    else:
        assert chosen is not None
        assert chosen.threshold <= threshold
        assert chosen.false_rate * TRAFFIC.near_misses <= limits.budget


def test_few_observations_prove_little() -> None:
    assert upper_bound(0, 10) > upper_bound(0, 1000) > 0
    assert upper_bound(30, 1000) == pytest.approx(0.0401, abs=1e-3)


def test_scores_are_held_against_labels_as_traffic_mixes_them() -> None:
    table = reliability(np.array([0.75, 0.75, 0.75]), np.array([True, False, True]), TRAFFIC)

    assert table.splitlines()[-1] == "| 0.70–0.80 | 3 | 25.0 % | 33.3 % |"


def test_what_refuses_most_comes_first() -> None:
    labels = np.array([False, False, True, False])

    table = refusals_table(["name", "number", "number", "number"], labels)

    assert table.splitlines()[2:] == ["| number | 2 | 1 |", "| name | 1 | 0 |"]
