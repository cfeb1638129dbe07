"""Periods of time: half-open spans `[start, end)` of aware UTC instants."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


class Period(NamedTuple):
    """A span that holds its start and not its end. Both are aware UTC."""

    start: datetime
    end: datetime

    def contains(self, instant: datetime) -> bool:
        """Return whether the instant lies in `[start, end)`."""
        return self.start <= instant < self.end

    def split(self, instants: Iterable[datetime]) -> list["Period"]:
        """Cut the period at every instant strictly inside it.

        Instants may come in any order, repeated, or from outside. The pieces come in order, none is empty,
        and together they are the period.
        """
        inside = {instant for instant in instants if self.start < instant < self.end}
        return [Period(start, end) for start, end in pairwise([self.start, *sorted(inside), self.end])]


def month(name: str) -> Period:
    """Return the calendar month, in UTC, that a name such as "2026-11" stands for.

    Raises:
        ValueError: the name is not `YYYY-MM`, or its year is not one that a datetime and its successor can
        hold.
    """
    matched = _MONTH.fullmatch(name)
    if matched is None:
        raise ValueError(f"{name!r} is not a month: write YYYY-MM, such as 2026-11")
    return month_of(datetime(int(matched[1]), int(matched[2]), 1, tzinfo=UTC))


def month_of(instant: datetime) -> Period:
    """Return the calendar month, in UTC, that holds the instant."""
    start = _in_utc(instant).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Period(start, _next_month(start))


def day_of(instant: datetime) -> Period:
    """Return the calendar day, in UTC, that holds the instant."""
    start = _in_utc(instant).replace(hour=0, minute=0, second=0, microsecond=0)
    return Period(start, start + timedelta(days=1))


def previous_month(now: datetime) -> Period:
    """Return the last calendar month, in UTC, that has ended at `now`."""
    end = month_of(now).start
    first = end.replace(year=end.year - 1, month=12) if end.month == 1 else end.replace(month=end.month - 1)
    return Period(first, end)


def floor_hour(instant: datetime) -> datetime:
    """Return the start of the UTC hour that holds the instant."""
    return _in_utc(instant).replace(minute=0, second=0, microsecond=0)


def _next_month(start: datetime) -> datetime:
    if start.month == 12:
        return start.replace(year=start.year + 1, month=1)
    return start.replace(month=start.month + 1)


def _in_utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return instant.astimezone(UTC)
