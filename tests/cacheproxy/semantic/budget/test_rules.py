"""Where scores fall, and what a policy states."""

import pytest

from cacheproxy.policy import parse_cache_policy
from cacheproxy.semantic.budget.rules import (
    BANDS,
    CELLS,
    Rules,
    band_of,
    calibrated_error,
    region_of,
    rules_of,
)


def test_scores_fall_into_bands_and_regions_into_a_small_integer() -> None:
    assert [band_of(score) for score in (0.7, 0.79, 0.8, 0.985, 0.99, 1.0)] == [0, 0, 1, 4, 5, 5]
    assert calibrated_error(5) == pytest.approx(0.005)
    regions = {region_of(cell, score) for cell in range(CELLS) for score in BANDS}
    assert regions == set(range(CELLS * len(BANDS)))


def test_a_policy_states_the_rules() -> None:
    assert rules_of(parse_cache_policy({"semantic": {}}).semantic) == Rules()  # type: ignore[arg-type]
    stated = {"threshold": 0.92, "error_budget": 0.02, "wrong_of_hits": 0.03, "trust": 0, "encoder": "bge"}
    policy = parse_cache_policy({"semantic": stated}).semantic
    assert policy is not None
    assert policy.encoder == "bge"
    assert rules_of(policy) == Rules(budget=0.02, wrong_of_hits=0.03, trust=0, open_from=0.92)
