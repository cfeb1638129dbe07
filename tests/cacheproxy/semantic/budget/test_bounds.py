"""What so many checks rule out."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantic.budget.bounds import proves_more, upper

ALPHA = 0.05
COUNTS = st.integers(0, 300)


def test_without_checks_all_may_be_wrong() -> None:
    assert upper(0, 0, ALPHA) == 1.0
    assert not proves_more(0, 0, 0.01, ALPHA)


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1])
def test_the_bound_holds_at_every_moment_at_once(share: float) -> None:
    broken = 0
    for seed in range(100):
        draw, wrong = random.Random(seed), 0
        for checks in range(1, 1001):
            wrong += draw.random() < share
            if upper(wrong, checks, ALPHA) < share:
                broken += 1
                break
    assert broken <= 100 * ALPHA


def test_innocence_is_hardly_ever_proven_guilt_however_often_one_looks() -> None:
    accused = 0
    for seed in range(100):
        draw, wrong = random.Random(seed), 0
        for checks in range(1, 1001):
            wrong += draw.random() < 0.02
            if proves_more(wrong, checks, 0.02, ALPHA):
                accused += 1
                break
    assert accused <= 100 * ALPHA


def test_clean_checks_prove_one_per_cent_after_a_few_hundred() -> None:
    assert upper(0, 419, ALPHA) < 0.01 < upper(0, 400, ALPHA)
    assert upper(0, 419, 0.001) > 0.01
    assert proves_more(10, 30, 0.05, ALPHA)


@given(wrong=COUNTS, right=COUNTS)
def test_a_right_answer_lowers_the_bound_and_a_wrong_one_raises_it(wrong: int, right: int) -> None:
    bound = upper(wrong, wrong + right, ALPHA)
    assert bound >= wrong / max(1, wrong + right)
    assert (
        upper(wrong, wrong + right + 1, ALPHA) <= bound <= upper(wrong + 1, wrong + right + 1, ALPHA) + 1e-9
    )


@given(wrong=COUNTS, right=COUNTS, share=st.floats(0.001, 0.9))
def test_both_bounds_are_of_one_mind(wrong: int, right: int, share: float) -> None:
    if proves_more(wrong, wrong + right, share, ALPHA):
        assert wrong > share * (wrong + right)
        assert upper(wrong, wrong + right, ALPHA) > share
