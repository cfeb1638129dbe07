"""Which span of days a page is about: a month picked from a list, or two days."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from metering.periods import Period, month, month_of, previous_month

MONTHS_OFFERED = 13
DAY = {"type": "date"}
LONGEST = timedelta(days=400)


def recent_months(now: datetime) -> list[Period]:
    """Return the month of *now* and those before it, latest first."""
    months = [month_of(now)]
    while len(months) < MONTHS_OFFERED:
        months.append(previous_month(months[-1].start))
    return months


class PeriodForm(forms.Form):
    """Asks for a month, or for a first and a last day, UTC; the days win where both are given."""

    month = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    first = forms.DateField(label="or from", required=False, widget=UnfoldAdminTextInputWidget(DAY))
    last = forms.DateField(label="to (inclusive)", required=False, widget=UnfoldAdminTextInputWidget(DAY))

    def __init__(self, asked: Mapping[str, Any], *, now: datetime) -> None:
        self.now = now
        super().__init__(data=asked or {"month": f"{now:%Y-%m}"})
        field = self.fields["month"]
        assert isinstance(field, forms.ChoiceField)
        named = [(f"{period.start:%Y-%m}", f"{period.start:%B %Y}") for period in recent_months(now)]
        field.choices = [("", "–"), *named]

    def clean(self) -> dict[str, Any]:
        """Refuse half a span, a reversed one, and one too long to draw."""
        asked: dict[str, Any] = self.cleaned_data
        first, last = asked.get("first"), asked.get("last")
        if (first is None) != (last is None):
            raise forms.ValidationError("Give both days, or a month.")
        if first and last and not timedelta(0) <= last - first < LONGEST:
            raise forms.ValidationError(f"The last day comes after the first, within {LONGEST.days} days.")
        return asked

    def period(self) -> Period:
        """Return the span asked for; this month where nothing that can be used was asked."""
        if not self.is_valid():
            return month_of(self.now)
        asked = self.cleaned_data
        if asked["first"]:
            return Period(_midnight(asked["first"]), _midnight(asked["last"]) + timedelta(days=1))
        return month(asked["month"]) if asked["month"] else month_of(self.now)


def _midnight(day: Any) -> datetime:
    return datetime.combine(day, time(), UTC)
