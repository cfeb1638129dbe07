"""L6: a credit note allocates by largest remainder, so that credits can return an invoice to exactly zero."""

from hypothesis import given
from hypothesis import strategies as st

from billing.money import allocate

LINES = st.lists(st.integers(0, 10**9), min_size=1, max_size=30)


@given(LINES, st.data())
def test_l6_any_series_of_credits_can_end_at_exactly_zero_on_every_line(
    lines: list[int], data: st.DataObject
) -> None:
    remaining = lines
    for _ in range(data.draw(st.integers(0, 4))):
        credit = data.draw(st.integers(0, sum(remaining)))
        shares = allocate(credit, remaining)
        assert sum(shares) == credit
        remaining = [left - share for left, share in zip(remaining, shares, strict=True)]
        assert all(left >= 0 for left in remaining)
    last = allocate(sum(remaining), remaining)
    assert [left - share for left, share in zip(remaining, last, strict=True)] == [0] * len(lines)
