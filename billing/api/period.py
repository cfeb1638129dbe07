"""The period that a query asks about: a month, or from one instant to another."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from metering import periods
from metering.periods import Period, floor_hour
from tenants.api.query import Query

LONGEST = timedelta(days=366)
YEARS = range(1970, 9999)


class MonthField(serializers.CharField):
    """A calendar month in UTC, ``YYYY-MM``, as a `Period`."""

    default_error_messages = {"invalid_month": "“{value}” is no month: write YYYY-MM, as 2026-11."}

    def to_internal_value(self, data: Any) -> Period:  # type: ignore[override]
        """Return the month."""
        try:
            return periods.month(super().to_internal_value(data))
        except ValueError:
            self.fail("invalid_month", value=data)


class InstantField(serializers.CharField):
    """An instant by ISO 8601; without a zone it is UTC, without a time the day's start."""

    default_error_messages = {
        "invalid_instant": "“{value}” is no instant: write it in UTC, as 2026-11-01 or 2026-11-01T06:00:00Z."
    }

    def to_internal_value(self, data: Any) -> datetime:  # type: ignore[override]
        """Return the instant, aware and in UTC."""
        try:
            instant = datetime.fromisoformat(super().to_internal_value(data))
        except ValueError:
            self.fail("invalid_instant", value=data)
        if instant.year not in YEARS:
            self.fail("invalid_instant", value=data)
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


class PeriodQuery(Query):
    """Either ``month``, or ``from`` and ``to``; without any of them this month until now."""

    month = MonthField(required=False, help_text="A calendar month in UTC, `YYYY-MM`.")

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, with those that Python has no name for."""
        help_text = "An instant in UTC, `2026-11-01` or `2026-11-01T06:00:00Z`"
        return {
            "from": InstantField(
                required=False, help_text=f"{help_text}; by default the start of the month of `to`."
            ),
            "to": InstantField(required=False, help_text=f"{help_text}, exclusive; by default now."),
            **super().get_fields(),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Put the `period` in the place of the parameters that tell it."""
        start, end, month = (attrs.pop(name, None) for name in ("from", "to", "month"))
        if month and (start or end):
            refuse("month", "Give either month, or from and to.")
        return attrs | {"period": month or self.between(start, end)}

    def between(self, start: datetime | None, end: datetime | None) -> Period:
        """Return the period from one instant to another, whichever of them is given.

        Raises:
            ValidationError: it is empty or longer than `LONGEST`.
        """
        end = end or timezone.now()
        start = start or periods.month_of(end - timedelta.resolution).start
        if start >= end:
            refuse(
                "to", f"to ({end:%Y-%m-%dT%H:%M:%SZ}) must be later than from ({start:%Y-%m-%dT%H:%M:%SZ})."
            )
        if end - start > LONGEST:
            refuse("from", f"The period is longer than {LONGEST.days} days; ask for it in parts.")
        return Period(start, end)


class HourlyQuery(PeriodQuery):
    """A period of whole hours, as what is summed by hour has."""

    def between(self, start: datetime | None, end: datetime | None) -> Period:
        """Return the period.

        Raises:
            ValidationError: it does not begin or end with an hour, or `PeriodQuery` refuses it.
        """
        for name, instant in (("from", start), ("to", end)):
            if instant and instant != floor_hour(instant):
                refuse(name, "Usage is summed by hour: name the start of one, as 2026-11-01T06:00:00Z.")
        return super().between(start, end or floor_hour(timezone.now()) + timedelta(hours=1))


def refuse(parameter: str, remedy: str) -> None:
    """Refuse a parameter with the remedy.

    Raises:
        ValidationError: always.
    """
    raise serializers.ValidationError({parameter: [remedy]}, code="invalid")
