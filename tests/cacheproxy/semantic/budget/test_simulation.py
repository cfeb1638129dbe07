"""20,000 calls: the realised error stays within the budget, and a drift shuts hits off."""

import pytest

from benchmarks.semantic_budget import ALPHA, BUDGET, CASES, DRIFTS_AT, REQUESTS, RULES, Run, simulate
from cacheproxy.semantic.budget.bounds import upper
from cacheproxy.semantic.budget.rules import Rules

SEEDS = 3
TOO_WRONG = ["as calibrated", "three times as wrong as calibrated", "scores say nothing: 10 % wrong"]
"""Cases of which all candidates together would overrun the budget."""
BOUNDLESS = Rules(budget=0.1, wrong_of_hits=0.9)


@pytest.mark.parametrize("case", [*TOO_WRONG, "one cell in 16 is 40 % wrong"])
def test_the_realised_error_stays_within_the_budget(case: str) -> None:
    runs = [simulate(CASES[case], RULES["default"], seed) for seed in range(SEEDS)]
    assert all(_at_most(run) <= BUDGET for run in runs)


@pytest.mark.parametrize("case", TOO_WRONG)
def test_it_is_the_budget_that_keeps_it_there(case: str) -> None:
    assert simulate(CASES[case], BOUNDLESS, 1).of_calls > BUDGET


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


def _at_most(run: Run) -> float:
    """Return what share of the calls is wrong at most, with 95 % confidence."""
    return upper(run.wrong, REQUESTS, ALPHA)
