"""A timeline: values that take effect at instants, each in force until the next."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Timeline(Generic[Value]):
    """Effective-dated values of one thing; of two with the same start the one given later holds."""

    __slots__ = ("_values", "starts")

    def __init__(self, entries: Iterable[tuple[datetime, Value]]) -> None:
        ordered = sorted(entries, key=lambda entry: entry[0])
        self.starts = [start for start, _ in ordered]
        self._values = [value for _, value in ordered]

    def at(self, instant: datetime) -> Value | None:
        """Return the value in force at the instant; None before the first."""
        index = bisect_right(self.starts, instant)
        return self._values[index - 1] if index else None
