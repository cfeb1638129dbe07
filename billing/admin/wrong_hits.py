"""Semantic hits that were proven wrong, and which invoice gave their charge back. Nothing is changed here."""

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AllValuesCheckboxFilter, RangeDateTimeFilter, RelatedDropdownFilter

from billing.models import WrongHitCredit
from billing.money import format_decimal
from metering.models import WrongHit
from tenants.admin_pages import FactsAdmin, link_to


@admin.register(WrongHit)
class WrongHitAdmin(FactsAdmin):
    """It stands here and not in metering because it tells of money, which metering does not know."""

    list_display = (
        "detected_at",
        "tenant",
        "model",
        "event_id",
        "occurred_at",
        "shown_similarity",
        "reason",
        "credited",
        "credited_on",
    )
    list_filter = (
        ("tenant", RelatedDropdownFilter),
        ("model", AllValuesCheckboxFilter),
        ("detected_at", RangeDateTimeFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant",)
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("event_id", "source_event", "tenant__slug")
    fields = (
        ("tenant", "model"),
        ("event_id", "occurred_at"),
        ("source_event", "detected_at"),
        ("similarity", "score"),
        "reason",
        ("credited", "credited_on"),
    )
    readonly_fields = ("credited", "credited_on")

    @admin.display(description="similarity", ordering="similarity")
    def shown_similarity(self, hit: WrongHit) -> str:
        """Return the cosine of the two questions and what the verifier thought of them."""
        return f"{hit.similarity:.3f}, score {hit.score:.3f}"

    @admin.display(description="credited, exact")
    def credited(self, hit: WrongHit) -> str:
        """Return what comes back, once an invoice says so."""
        credit = _standing(hit)
        return f"{format_decimal(credit.charged_accrued)} {credit.invoice.currency}" if credit else "–"

    @admin.display(description="on invoice")
    def credited_on(self, hit: WrongHit) -> str:
        """Return the invoice, or that none has given it back yet."""
        credit = _standing(hit)
        return link_to(credit.invoice, str(credit.invoice)) if credit else "not yet"

    def get_queryset(self, request: HttpRequest) -> QuerySet[WrongHit]:
        standing = WrongHitCredit.objects.filter(stands=True).select_related("invoice")
        return super().get_queryset(request).prefetch_related(Prefetch("credits", standing, "standing"))


def _standing(hit: WrongHit) -> WrongHitCredit | None:
    standing: list[WrongHitCredit] = hit.standing  # type: ignore[attr-defined]
    return standing[0] if standing else None
