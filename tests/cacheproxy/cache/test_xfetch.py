"""XFetch's law of probability, and what must hold whatever is drawn."""

import math

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cache.xfetch import is_due

DRAWS = 2_000
lefts = st.integers(1, 10**8)
tooks = st.integers(1, 10**8)
betas = st.floats(0.01, 100)
draws = st.floats(2**-53, 1)


@given(st.integers(1, 5_000), st.integers(1_000, 5_000_000), betas)
def test_an_answer_is_due_with_the_probability_that_xfetch_states(
    left_ms: int, took_us: int, beta: float
) -> None:
    """Draws spread evenly over (0, 1] stand for chance, so that the share is right to one of them."""
    due = sum(is_due(left_ms, took_us, beta, (number + 1) / DRAWS) for number in range(DRAWS))
    assert abs(due - DRAWS * math.exp(-1000 * left_ms / (took_us * beta))) <= 1


@given(lefts, tooks, betas, draws)
def test_it_is_never_due_later_for_having_less_time_or_having_taken_longer(
    left_ms: int, took_us: int, beta: float, draw: float
) -> None:
    if is_due(left_ms, took_us, beta, draw):
        assert is_due(left_ms - 1, took_us, beta, draw)
        assert is_due(left_ms, took_us + 1, beta, draw)
        assert is_due(left_ms, took_us, 2 * beta, draw)


@given(lefts, draws)
def test_what_took_no_time_that_is_known_is_due_at_its_end_only(left_ms: int, draw: float) -> None:
    assert not is_due(left_ms, 0, 1, draw)
    assert not is_due(left_ms, 1_000_000, 0, draw)
    assert is_due(0, 0, 1, draw)


@given(st.integers(2, 50))
def test_readers_one_after_the_other_make_the_stated_number_of_refreshes(readers: int) -> None:
    """With n readers evenly over the last Δ, n (1 - 1/e) are due in the mean: the more ask, the earlier one begins."""
    took_us, took_ms = 1_000_000, 1_000
    lefts_ms = [took_ms * (number + 1) // readers for number in range(readers)]
    due = sum(
        is_due(left_ms, took_us, 1, (number + 1) / DRAWS) for left_ms in lefts_ms for number in range(DRAWS)
    )
    assert abs(due / DRAWS - readers * (1 - 1 / math.e)) < 0.5
