"""The first page: how this month goes, what is open, and what wants a person."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from billing.admin.savings import money_cards, money_charts, until_today, usage_cards, usage_charts
from billing.admin.words import counted
from billing.models import Invoice, StripeInvoice
from billing.money import format_money
from billing.selectors.savings import add_figures
from billing.selectors.savings_of_many import savings_by_currency
from metering.models import Quality, RollupProgress, UsageConflict, UsageRollup
from metering.periods import Period, month_of

PERMISSIONS = ["tenants.view_tenant", "metering.view_usagerollup", "billing.view_invoice"]
STALE_AFTER = timedelta(minutes=15)
SHOWN_INVOICES = 8


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the first page shows to its context, for those who may see all of it."""
    if not request.user.has_perms(PERMISSIONS):
        return context
    now = timezone.now()
    return context | {
        "month": f"{now:%B %Y}",
        "warnings": list(warnings(now)),
        "open_invoices": open_invoices(),
        "open_totals": open_totals(),
        **month_picture(now),
    }


def month_picture(now: datetime) -> dict[str, Any]:
    """Return the cards and charts of this month, of all tenants."""
    saved = savings_by_currency(period=until_today(month_of(now), now))
    figures = add_figures(one.total for one in saved.values())
    days = sorted({day for one in saved.values() for day in one.by_day})
    daily = [add_figures(one.by_day[day] for one in saved.values()) for day in days]
    return {
        "card_rows": [money_cards(saved.values()), usage_cards(figures)],
        "charts": [*money_charts(saved.values()), *usage_charts(days, daily)],
    }


def warnings(now: datetime) -> Iterator[dict[str, str]]:
    """Yield what wants a person: in words, with the way to it."""
    if parked := StripeInvoice.objects.filter(state=StripeInvoice.State.PARKED).count():
        yield _warning(
            f"{counted(parked, 'Stripe invoice')} parked: Stripe and we disagree.",
            "billing_stripeinvoice",
            state__exact="parked",
        )
    if calls := quarantined_calls(month_of(now)):
        yield _warning(
            f"{counted(calls, 'call')} of this month quarantined: their counts cannot be trusted and are not charged.",
            "metering_usagerollup",
            quality__exact=Quality.SUSPECT,
        )
    if conflicts := UsageConflict.objects.count():
        yield _warning(
            f"{counted(conflicts, 'usage event')} refused: the id was taken by another event.",
            "metering_usageconflict",
        )
    rolled_up_at = RollupProgress.objects.values_list("rolled_up_at", flat=True).first()
    if rolled_up_at is None:
        yield _warning("Usage has never been rolled up: the figures below are empty.", "metering_usagerollup")
    elif now - rolled_up_at > STALE_AFTER:
        yield _warning(
            f"Usage was last rolled up at {rolled_up_at:%Y-%m-%d %H:%M} UTC.", "metering_usagerollup"
        )


def quarantined_calls(period: Period) -> int:
    """Return how many calls of the period have counts that cannot be trusted."""
    suspect = UsageRollup.objects.filter(quality=Quality.SUSPECT, hour__gte=period.start, hour__lt=period.end)
    calls: int | None = suspect.aggregate(calls=Sum("calls"))["calls"]
    return calls or 0


def open_invoices() -> list[dict[str, Any]]:
    """Return the open invoices that are due first."""
    rows = Invoice.objects.filter(status=Invoice.Status.OPEN).select_related("tenant").order_by("due_at")
    return [
        {
            "number": invoice.number,
            "link": reverse("admin:billing_invoice_change", args=[invoice.pk]),
            "tenant": invoice.tenant,
            "due_at": invoice.due_at,
            "net": format_money(invoice.net_minor, invoice.currency),
        }
        for invoice in rows[:SHOWN_INVOICES]
    ]


def open_totals() -> list[str]:
    """Return how many invoices are open and what they come to, a line for each currency."""
    rows = Invoice.objects.filter(status=Invoice.Status.OPEN).order_by("currency").values("currency")
    return [
        f"{row['count']} open, {format_money(row['net'], row['currency'])}"
        for row in rows.annotate(count=Count("pk"), net=Sum("net_minor"))
    ]


def _warning(text: str, table: str, **filters: str) -> dict[str, str]:
    link = reverse(f"admin:{table}_changelist")
    return {"text": text, "link": f"{link}?{urlencode(filters)}" if filters else link}
