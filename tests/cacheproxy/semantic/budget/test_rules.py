"""Where scores and vectors fall, and what a policy states."""

import numpy as np
import pytest

from cacheproxy.policy import parse_cache_policy
from cacheproxy.semantic.budget.rules import (
    BANDS,
    CELLS,
    Rules,
    band_of,
    calibrated_error,
    cells_of,
    region_of,
    rules_of,
)
from tests.cacheproxy.semantic.entries import near, vectors


def test_scores_fall_into_bands_and_regions_into_a_small_integer() -> None:
    assert [band_of(score) for score in (0.7, 0.79, 0.8, 0.985, 0.99, 1.0)] == [0, 0, 1, 4, 5, 5]
    assert calibrated_error(5) == pytest.approx(0.005)
    regions = {region_of(cell, score) for cell in range(CELLS) for score in BANDS}
    assert regions == set(range(CELLS * len(BANDS)))


def test_vectors_fall_into_all_cells_and_near_ones_mostly_into_the_same() -> None:
    drawn = vectors(500)
    cells = cells_of(drawn)
    assert set(cells) == set(range(CELLS))
    neighbours = cells_of(np.stack([near(vector, 0.98) for vector in drawn]))
    assert sum(map(int.__eq__, cells, neighbours)) > 350
    assert cells_of(drawn[:3]) == cells[:3]


def test_a_policy_states_the_rules() -> None:
    assert rules_of(parse_cache_policy({"semantic": {}}).semantic) == Rules()  # type: ignore[arg-type]
    stated = {"threshold": 0.92, "error_budget": 0.02, "wrong_of_hits": 0.03, "trust": 0, "encoder": "bge"}
    policy = parse_cache_policy({"semantic": stated}).semantic
    assert policy is not None
    assert policy.encoder == "bge"
    assert rules_of(policy) == Rules(budget=0.02, wrong_of_hits=0.03, trust=0, open_from=0.92)
