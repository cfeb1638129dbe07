"""The operator's pages for usage: hourly sums, refused events, and a look-up of one call. Nothing is changed here."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from unfold.contrib.filters.admin import (
    AllValuesCheckboxFilter,
    ChoicesDropdownFilter,
    RangeDateTimeFilter,
    RelatedDropdownFilter,
)
from unfold.widgets import UnfoldAdminTextInputWidget

from metering.models import Outcome, Quality, UsageConflict, UsageEvent, UsageRollup
from metering.tokens import BILLABLE
from metering.usage_event import uuid7_bounds
from tenants.admin_pages import FactsAdmin, badge, require

LONGEST_CALL = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OUTCOME_COLOURS = {
    Outcome.EXACT: "success",
    Outcome.COALESCED: "success",
    Outcome.SEMANTIC: "success",
    Outcome.MISS: "info",
    Outcome.BYPASS: "info",
}
QUALITY_COLOURS = {Quality.REPORTED: "success", Quality.ESTIMATED: "warning", Quality.SUSPECT: "danger"}


def count_column(field: str) -> Callable[[UsageRollup], str]:
    """Return a column of a list: the count in that field, its thousands apart."""

    @admin.display(description=field.replace("_", " "), ordering=field)
    def column(rollup: UsageRollup) -> str:
        return f"{getattr(rollup, field):,}"

    return column


COUNT_COLUMNS = tuple(count_column(field) for field in ("calls", *BILLABLE))


class LookUpForm(forms.Form):
    """Asks for the id that every answer carries in its headers."""

    request_id = forms.UUIDField(
        label="x-request-id",
        widget=UnfoldAdminTextInputWidget,
        error_messages={"invalid": "This is no request id. Paste the x-request-id header of the answer."},
    )


def events_of_request(request_id: UUID) -> list[UsageEvent]:
    """Return the events of one request, oldest first, or none for an id that is no UUIDv7.

    An id holds its time to the millisecond, so only the hour from there on is searched: a bounded range of
    one or two partitions.
    """
    if request_id.version != 7:
        return []
    started = EPOCH + timedelta(milliseconds=request_id.int >> 80)
    events = UsageEvent.objects.select_related("tenant", "api_key")
    span = events.filter(
        event_id__gte=uuid7_bounds(started), event_id__lt=uuid7_bounds(started + LONGEST_CALL)
    )
    return list(span.filter(request_id=request_id).order_by("event_id"))


@admin.register(UsageRollup)
class UsageRollupAdmin(FactsAdmin):
    """Hourly sums of usage."""

    list_display = ("hour", "tenant", "shown_model", "shown_outcome", "shown_quality", *COUNT_COLUMNS)
    list_filter = (
        ("tenant", RelatedDropdownFilter),
        ("hour", RangeDateTimeFilter),
        ("model", AllValuesCheckboxFilter),
        ("outcome", ChoicesDropdownFilter),
        ("quality", ChoicesDropdownFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant",)
    list_per_page = 50
    show_full_result_count = False
    ordering = ("-hour", "tenant", "model", "outcome")
    exclude = ("watermark",)

    @badge("outcome", OUTCOME_COLOURS)
    def shown_outcome(self, rollup: UsageRollup) -> tuple[str, str]:
        """Return the outcome, coloured."""
        return rollup.outcome, rollup.get_outcome_display()

    @badge("quality", QUALITY_COLOURS)
    def shown_quality(self, rollup: UsageRollup) -> str:
        """Return the quality, coloured."""
        return rollup.quality

    @admin.display(description="model, version", ordering="model")
    def shown_model(self, rollup: UsageRollup) -> str:
        """Return the model and its version."""
        return f"{rollup.model}, {rollup.model_version}"

    def get_urls(self) -> list[URLPattern]:
        look_up = self.admin_site.admin_view(self.look_up_view)
        return [path("look-up/", look_up, name="metering_usagerollup_look_up"), *super().get_urls()]

    def look_up_view(self, request: HttpRequest) -> HttpResponse:
        """Show the events of the request whose id is asked for."""
        require(request, ["metering.view_usageevent"])
        form = LookUpForm(request.GET or None)
        asked = form.is_valid()
        events = events_of_request(form.cleaned_data["request_id"]) if asked else []
        return self.page(
            request, "admin/metering/look_up.html", "Look up a call", form=form, asked=asked, events=events
        )


@admin.register(UsageConflict)
class UsageConflictAdmin(FactsAdmin):
    """Events refused because their id was taken by an event that says something else."""

    list_display = ("seen_at", "tenant", "event_id", "refused_model", "refused_outcome")
    list_filter = (("tenant", RelatedDropdownFilter), ("seen_at", RangeDateTimeFilter))
    list_filter_submit = True
    list_select_related = ("tenant",)
    search_fields = ("event_id",)
    fields = (("seen_at", "tenant"), "event_id", "recorded", "refused_as", "refused")
    readonly_fields = ("recorded", "refused_as")

    @admin.display(description="model")
    def refused_model(self, conflict: UsageConflict) -> str:
        """Return the model that the refused event names."""
        return str(conflict.refused.get("model", ""))

    @admin.display(description="outcome")
    def refused_outcome(self, conflict: UsageConflict) -> str:
        """Return the outcome that the refused event names."""
        return str(conflict.refused.get("outcome", ""))

    @admin.display(description="payload digest recorded")
    def recorded(self, conflict: UsageConflict) -> str:
        """Return the digest that stands, in hex."""
        return bytes(conflict.recorded_digest).hex()

    @admin.display(description="payload digest refused")
    def refused_as(self, conflict: UsageConflict) -> str:
        """Return the digest that was refused, in hex."""
        return bytes(conflict.refused_digest).hex()
