from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.periods import Period, floor_hour, month, month_of, previous_month

INSTANTS = st.datetimes(*(datetime(year, 1, 1) for year in (2000, 2100)), timezones=st.just(UTC))  # noqa: DTZ001
SHANGHAI = timezone(timedelta(hours=8))


def test_a_month_ends_where_the_next_begins() -> None:
    assert month("2026-11") == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert month("2026-12").end == month("2027-01").start
    assert month("2024-02").end - month("2024-02").start == timedelta(days=29)


@pytest.mark.parametrize(
    "name", ["2026-13", "2026-00", "2026-1", "26-01", "2026-11-01", "", "٢٠٢٦-11", "2026-11\n"]
)
def test_what_is_no_month_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a month: write YYYY-MM"):
        month(name)


@pytest.mark.parametrize("name", ["0000-01", "9999-12"])
def test_a_month_at_the_end_of_time_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="year"):
        month(name)


@pytest.mark.parametrize(
    ("now", "name"),
    [
        (datetime(2026, 12, 1, tzinfo=UTC), "2026-11"),
        (datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC), "2026-10"),
        (datetime(2026, 1, 31, tzinfo=UTC), "2025-12"),
        (datetime(2026, 12, 1, 7, 59, tzinfo=SHANGHAI), "2026-10"),
    ],
)
def test_the_previous_month_has_ended_in_utc(now: datetime, name: str) -> None:
    assert previous_month(now) == month(name)


def test_an_hour_is_an_hour_of_utc() -> None:
    half_past = timezone(timedelta(hours=5, minutes=30))
    assert floor_hour(datetime(2026, 11, 21, 10, 45, 1, 5, tzinfo=half_past)) == datetime(
        2026, 11, 21, 5, tzinfo=UTC
    )


@pytest.mark.parametrize("function", [floor_hour, month_of, previous_month])
def test_an_instant_without_a_zone_is_refused(function: object) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        function(datetime(2026, 11, 21, tzinfo=UTC).replace(tzinfo=None))  # type: ignore[operator]


def test_a_period_holds_its_start_and_not_its_end() -> None:
    november = month("2026-11")
    assert november.contains(november.start)
    assert not november.contains(november.end)


@settings(deadline=None)
@given(
    start=INSTANTS,
    length=st.timedeltas(timedelta(microseconds=1), timedelta(days=90)),
    cuts=st.lists(INSTANTS),
)
def test_the_pieces_of_a_period_are_the_period(
    start: datetime, length: timedelta, cuts: list[datetime]
) -> None:
    period = Period(start, start + length)
    cuts = [*cuts, start + length / 2, start, start + length]
    pieces = period.split(cuts)
    assert pieces[0].start == period.start
    assert pieces[-1].end == period.end
    assert all(piece.start < piece.end for piece in pieces)
    assert all(before.end == after.start for before, after in pairwise(pieces))
    assert {piece.start for piece in pieces[1:]} == {cut for cut in cuts if period.contains(cut)} - {start}


@settings(deadline=None)
@given(INSTANTS)
def test_every_instant_lies_in_its_month(instant: datetime) -> None:
    assert month_of(instant).contains(instant)
    assert month_of(instant) == month(f"{instant:%Y-%m}")
