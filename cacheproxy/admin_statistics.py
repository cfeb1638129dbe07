"""The operator's page for the cache's statistics: what it saves, where hits come from, why misses are none."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from billing.admin.charts import Chart, Series, bars
from billing.admin.period_form import PeriodForm
from billing.admin.savings import Card, until_today, written_out
from billing.admin.words import share, thousands
from billing.selectors.savings import Figures, add_figures
from cacheproxy.models import CacheStatistic
from cacheproxy.semantic_budgets import BudgetReport, budget_reports
from cacheproxy.statistics import PERMISSIONS, ModelStatistics, cache_statistics, counts_by_day, total
from metering.periods import Period
from tenants.admin_pages import FactsAdmin, button, require
from tenants.models import Tenant

COLOURS = {
    "memory": "#34d399",
    "redis": "#0d9488",
    "semantic": "#a78bfa",
    "coalesced": "#7dd3fc",
    "stale": "#fbbf24",
    "batch": "#bef264",
    "never_seen": "#94a3b8",
    "expired": "#fbbf24",
    "evicted": "#f87171",
    "invalidated": "#a78bfa",
    "version": "#0284c7",
    "policy": "#475569",
    "client": "#cbd5e1",
}
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class StatisticsForm(PeriodForm):
    """Asks whose calls, and when."""

    tenant = forms.ModelChoiceField(
        queryset=Tenant.objects.all(),
        required=False,
        empty_label="every tenant",
        widget=UnfoldAdminSelectWidget,
    )

    @property
    def named_tenant(self) -> Tenant | None:
        """Return who was asked for; None for everybody."""
        return self.cleaned_data.get("tenant") if self.is_valid() else None


@admin.register(CacheStatistic)
class CacheStatisticAdmin(FactsAdmin):
    """One page instead of a table: rows by the hour say little."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the statistics of a period."""
        require(request, PERMISSIONS)
        context = statistics_page(request.GET, timezone.now())
        return self.page(request, "admin/cacheproxy/statistics.html", "Cache statistics", **context)


def statistics_page(asked: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return what the page shows for what was asked for."""
    stated = {name: asked.get(name, "") for name in StatisticsForm.base_fields}
    if not (stated["month"] or stated["first"] or stated["last"]):
        stated["month"] = f"{now:%Y-%m}"
    form = StatisticsForm(stated, now=now)
    period, tenant = form.period(), form.named_tenant
    models = cache_statistics(period=period, tenant=tenant)
    return {
        "form": form,
        "span": f"{period.start:%Y-%m-%d} to {period.end - timedelta(days=1):%Y-%m-%d}",
        "whose": tenant or "every tenant",
        "card_rows": [cards(models)],
        "charts": charts(until_today(period, now), tenant),
        "rows": [_row(one) for one in models],
        "budgets": [_budget_row(one) for one in budget_reports()],
    }


def cards(models: Sequence[ModelStatistics]) -> list[Card]:
    """Return the figures of all together."""
    figures, counts = add_figures(one.figures for one in models), total(one.counts for one in models)
    by_currency: dict[str, list[Figures]] = {}
    for one in models:
        if one.currency:
            by_currency.setdefault(one.currency, []).append(one.figures)
    saved = [
        Card("Saved", written_out(add_figures(known), currency).saved, "by hits", good=True)
        for currency, known in sorted(by_currency.items())
    ]
    return [
        Card("Hit rate", share(figures.hits, figures.calls), f"of {thousands(figures.calls)} calls"),
        Card(
            "Tokens saved", thousands(figures.tokens_served - figures.tokens_computed), "served, not computed"
        ),
        *saved,
        Card("Given by the cache", size(counts.bytes_given), "of answers"),
        Card("Mean age", age(counts.mean_age_seconds), "of an answer given"),
    ]


def charts(period: Period, tenant: Tenant | None) -> list[Chart]:
    """Return hits by where they came from and misses by why, over time."""
    known = counts_by_day(period=period, tenant=tenant)
    days = [
        (period.start + timedelta(days=number)).date() for number in range((period.end - period.start).days)
    ]
    counts = [known.get(day, total([])) for day in days]
    labels = [f"{day:%d %b}" for day in days]
    return [
        bars("Hits by where they came from, calls a day", labels, _series([one.tiers for one in counts])),
        bars("Misses by why, calls a day", labels, _series([one.reasons for one in counts])),
    ]


def size(count: int) -> str:
    """Return a number of bytes in a unit that suits it, to a tenth, rounded down."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(UNITS) - 1)
    tenths = count * 10 >> 10 * power
    return f"{thousands(tenths // 10)}.{tenths % 10} {UNITS[power]}" if power else f"{count} B"


def age(seconds: int | None) -> str:
    """Return an age in the largest unit that it fills, rounded down."""
    if seconds is None:
        return "–"
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def statistics_button(request: HttpRequest, tenant: Tenant) -> list[dict[str, Any]]:
    """Return the button to a tenant's statistics, for those who may see them."""
    if not request.user.has_perms(PERMISSIONS):
        return []
    page = reverse("admin:cacheproxy_cachestatistic_changelist")
    return [button("Cache hits", f"{page}?{urlencode({'tenant': tenant.pk})}", "cached")]


def _series(days: Sequence[Mapping[str, int]]) -> list[Series]:
    """Return a row of bars for each result that there was at all."""
    results = days[0] if days else {}
    return [
        Series(CacheStatistic.Result(result).label, [day[result] for day in days], COLOURS[result])
        for result in results
        if any(day[result] for day in days)
    ]


def _row(one: ModelStatistics) -> dict[str, Any]:
    figures, counts = one.figures, one.counts
    return {
        "tenant": one.tenant,
        "model": one.model,
        "calls": thousands(figures.calls),
        "hit_rate": share(figures.hits, figures.calls),
        "hits": _in_words(counts.tiers),
        "misses": _in_words(counts.reasons),
        "tokens": thousands(figures.tokens_served - figures.tokens_computed),
        "given": size(counts.bytes_given),
        "age": age(counts.mean_age_seconds),
        "saved": written_out(figures, one.currency).saved if one.currency else "–",
    }


def _budget_row(one: BudgetReport) -> dict[str, Any]:
    return {
        "model": f"{one.model} {one.version}",
        "state": "shut off" if one.shut_off else "served",
        "good": not one.shut_off,
        "wrong_at_most": f"{one.wrong_ratio:.2%}",
        "tolerated": f"{one.tolerated_ratio:.2%}",
        "checks": thousands(one.checks),
        "wrong": thousands(one.wrong),
        "drifts": thousands(one.drifts),
        "updated_at": one.updated_at,
    }


def _in_words(calls: Mapping[str, int]) -> str:
    """Return what there was, the most first."""
    there = sorted(((count, result) for result, count in calls.items() if count), reverse=True)
    return (
        ", ".join(f"{CacheStatistic.Result(result).label} {thousands(count)}" for count, result in there)
        or "–"
    )
