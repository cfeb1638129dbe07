"""20,000 calls: the realised error stays within the budget, and a drift shuts hits off."""

import pytest

from benchmarks.semantic_budget import BUDGET, CASES, DRIFTS_AT, RULES, simulate

SEEDS = 3


@pytest.mark.parametrize(
    "case", ["as calibrated", "one cell in 16 is 40 % wrong", "scores say nothing: 10 % wrong"]
)
def test_the_realised_error_stays_within_the_budget(case: str) -> None:
    runs = [simulate(CASES[case], RULES["default"], seed) for seed in range(SEEDS)]
    assert all(run.of_calls <= BUDGET for run in runs)


def test_calibrated_traffic_is_served() -> None:
    run = simulate(CASES["as calibrated"], RULES["default"], 1)
    assert run.hits > 2_000
    assert run.drifts == 0
    assert run.checked < run.hits / 2


def test_hits_are_shut_off_when_the_answers_drift() -> None:
    for seed in range(SEEDS):
        run = simulate(CASES["60 % of answers change half-way"], RULES["default"], seed)
        assert run.drifts >= 1
        assert run.shut_at is not None
        assert run.shut_at - DRIFTS_AT < 500
        assert run.of_calls <= BUDGET


def test_the_same_seed_does_the_same() -> None:
    first, again = (simulate(CASES["error creeps up by 10 %"], RULES["default"], 5) for _ in range(2))
    assert first == again
