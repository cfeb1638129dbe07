"""What is served, as checks come in."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantic.budget.account import Account, State
from cacheproxy.semantic.budget.rules import CELLS, Rules, region_of

SURE, LIKELY, DOUBTFUL = (region_of(0, score) for score in (0.995, 0.96, 0.75))
CHECKS = st.lists(st.tuples(st.integers(0, 6 * CELLS - 1), st.booleans()), max_size=60)


def after(account: Account, region: int, *, right: int = 0, wrong: int = 0) -> Account:
    for _ in range(right):
        account.check(region, wrong=False)
    for _ in range(wrong):
        account.check(region, wrong=True)
    return account


def test_hits_are_served_from_the_beginning_where_the_verifier_is_sure() -> None:
    account = Account(Rules())
    assert not account.state.shut
    assert [account.opens(region) for region in (SURE, LIKELY, DOUBTFUL)] == [True, False, False]
    assert account.upper < account.tolerance
    assert account.proven == 1.0


def test_an_operator_may_trust_lower_scores() -> None:
    account = Account(Rules(open_from=0.95))
    assert [account.opens(region) for region in (SURE, LIKELY, DOUBTFUL)] == [True, True, False]


def test_without_trust_nothing_is_served_before_it_is_proven() -> None:
    account = Account(Rules(trust=0))
    shut = [after(account, SURE, right=checks).state.shut for checks in (0, 50, 100)]
    assert shut == [True, True, False]
    assert account.proven < account.tolerance


def test_a_doubtful_band_opens_when_its_checks_are_good() -> None:
    account = after(Account(Rules()), DOUBTFUL, right=400)
    assert account.opens(DOUBTFUL)
    assert not account.opens(LIKELY)


def test_a_band_of_wrong_answers_closes() -> None:
    account = after(Account(Rules()), SURE, wrong=4)
    assert not account.opens(SURE)


def test_a_bad_region_closes_alone() -> None:
    account, bad = Account(Rules()), region_of(3, 0.995)
    for _ in range(40):
        for cell in range(CELLS):
            after(account, region_of(cell, 0.995), right=1)
        after(account, bad, wrong=1)
    assert not account.opens(bad)
    assert all(account.opens(region_of(cell, 0.995)) for cell in range(CELLS) if cell != 3)


def test_a_drift_voids_what_was_proven_and_only_checks_open_again() -> None:
    account = Account(Rules())
    for _ in range(100):
        for cell in range(CELLS):
            after(account, region_of(cell, 0.995), right=1)
    assert account.proven < 0.01
    for cell in range(8):
        after(account, region_of(cell, 0.995), wrong=1)
    state = account.state
    assert (state.drifts, state.shut, state.trusted) == (1, True, False)
    assert account.proven == 1.0
    for _ in range(60):
        for cell in range(CELLS):
            after(account, region_of(cell, 0.995), right=1)
    assert not state.shut


def test_a_wrong_answer_makes_the_next_ones_be_checked_more_often() -> None:
    account = after(Account(Rules()), SURE, right=2000)
    assert account.check_rate == pytest.approx(0.05)
    after(account, SURE, wrong=1)
    assert account.check_rate > 0.3


def test_where_many_calls_find_a_candidate_fewer_hits_may_be_wrong() -> None:
    account = Account(Rules())
    assert account.tolerance == pytest.approx(0.05)
    account.look_up(10_000, 5_000)
    assert account.tolerance == pytest.approx(0.02, rel=0.02)
    account.look_up(10_000, 100)
    assert account.tolerance > 0.04


@given(checks=CHECKS)
def test_a_state_survives_its_journey_as_json(checks: list[tuple[int, bool]]) -> None:
    account = Account(Rules())
    account.look_up(100, 40)
    for region, wrong in checks:
        account.check(region, wrong=wrong)
    again = Account(Rules(), msgspec.json.decode(msgspec.json.encode(account.state), type=State))
    assert (again.state, again.upper, again.check_rate) == (account.state, account.upper, account.check_rate)


@given(checks=CHECKS)
def test_what_is_wrong_never_opens_anything(checks: list[tuple[int, bool]]) -> None:
    account = Account(Rules())
    for region, _ in checks:
        was_open = account.opens(region)
        account.check(region, wrong=True)
        assert was_open or not account.opens(region)
        assert account.rules.least_check_rate <= account.check_rate <= 1


def test_a_score_that_an_operator_vouches_for_is_open_within_its_band_until_it_proves_bad() -> None:
    account = Account(Rules(open_from=0.92))
    region = region_of(0, 0.93)
    assert account.rules.vouches_for(0.93)
    assert not account.rules.vouches_for(0.91)
    assert account.opens(region, vouched=True)
    assert not account.opens(region)
    for _ in range(20):
        account.check(region, wrong=True, vouched=True)
    assert account.state.proof.wrong > 0
    assert not account.opens(region, vouched=True)
