"""How well the cache does, by tenant and model: what it saved, from the rollups; how and why, as the gateways counted.

Calls, tokens and money are the rollups', exact as on the invoice. Where hits came from and why misses were none is
counted by the gateways (`gateway/telemetry/statistics.py`): close to the calls, but not to the last one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import QuerySet, Sum
from django.db.models.functions import TruncDay

from billing.selectors.savings import Figures, Savings, add_figures
from billing.selectors.savings_of_many import savings_by_tenant
from cacheproxy.gateway.telemetry.tally import REASONS, TIERS
from cacheproxy.models import CacheStatistic
from metering.periods import Period
from tenants.models import Tenant

KEPT = timedelta(days=400)
PERMISSIONS = ("cacheproxy.view_cachestatistic", "metering.view_usagerollup", "billing.view_invoice")
"""What staff need to see them: usage and money are in them."""
_SUMS = {
    "sum_of_calls": Sum("calls"),
    "sum_of_bytes": Sum("size_bytes"),
    "sum_of_age_ms": Sum("age_ms"),
}


class Counts(NamedTuple):
    """What the gateways counted: calls by where the hit came from, and by why there was none."""

    tiers: Mapping[str, int]
    reasons: Mapping[str, int]
    bytes_given: int
    age_ms: int
    """How old all answers were that the cache gave, together."""

    @property
    def mean_age_seconds(self) -> int | None:
        """Return how old an answer that the cache gave was on average; None where it gave none."""
        given = sum(self.tiers.values())
        return self.age_ms // given // 1000 if given else None


class Row(NamedTuple):
    """What was counted of one result."""

    result: str
    calls: int
    bytes_given: int
    age_ms: int


class ModelStatistics(NamedTuple):
    """One tenant's calls of one model; money in the tenant's currency."""

    tenant: Tenant
    model: str
    currency: str | None
    figures: Figures
    counts: Counts


def cache_statistics(*, period: Period, tenant: Tenant | None = None) -> list[ModelStatistics]:
    """Return the statistics of a period of whole hours by tenant and model; of every tenant where none is named."""
    saved = savings_by_tenant(tenant_ids=None if tenant is None else [tenant.pk], period=period)
    used = {(tenant_id, model) for tenant_id, one in saved.items() for model, _ in one.by_model_and_outcome}
    counted = _grouped(_rows(period, tenant), "tenant_id", "model")
    found = sorted({*used, *counted})
    tenants = Tenant.objects.in_bulk({tenant_id for tenant_id, _ in found})
    return [
        ModelStatistics(
            tenants[tenant_id],
            model,
            saved[tenant_id].currency if tenant_id in saved else None,
            _of_model(saved.get(tenant_id), model),
            add_up(counted.get((tenant_id, model), [])),
        )
        for tenant_id, model in found
    ]


def counts_by_day(*, period: Period, tenant: Tenant | None = None) -> dict[date, Counts]:
    """Return what was counted on each day, UTC, of a period on which anything was, in order."""
    days = _grouped(_rows(period, tenant).annotate(day=TruncDay("hour", tzinfo=UTC)), "day")
    return {day.date(): add_up(days[day,]) for (day,) in sorted(days)}


def add_up(rows: Iterable[Row]) -> Counts:
    """Return the counts of rows together."""
    calls: Counter[str] = Counter()
    bytes_given = age_ms = 0
    for row in rows:
        calls[row.result] += row.calls
        bytes_given += row.bytes_given
        age_ms += row.age_ms
    return Counts(
        {tier: calls[tier] for tier in TIERS},
        {reason: calls[reason] for reason in REASONS},
        bytes_given,
        age_ms,
    )


def total(counts: Iterable[Counts]) -> Counts:
    """Return several counts as one."""
    return add_up(
        row
        for one in counts
        for row in (
            *(Row(result, calls, 0, 0) for result, calls in {**one.tiers, **one.reasons}.items()),
            Row("", 0, one.bytes_given, one.age_ms),
        )
    )


def delete_old(*, now: datetime) -> int:
    """Delete what was counted longer ago than it is kept, and return how many rows that were."""
    deleted, _ = CacheStatistic.objects.filter(hour__lt=now - KEPT).delete()
    return deleted


def _rows(period: Period, tenant: Tenant | None) -> QuerySet[CacheStatistic]:
    rows = CacheStatistic.objects.filter(hour__gte=period.start, hour__lt=period.end)
    return rows if tenant is None else rows.filter(tenant=tenant)


def _grouped(rows: QuerySet[CacheStatistic], *by: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    sums = rows.order_by().values(*by, "result").annotate(**_SUMS)
    for values in sums.values_list(*by, "result", *_SUMS):
        groups.setdefault(values[: len(by)], []).append(Row(*values[len(by) :]))
    return groups


def _of_model(saved: Savings | None, model: str) -> Figures:
    parts = saved.by_model_and_outcome if saved is not None else {}
    return add_figures(figures for (name, _), figures in parts.items() if name == model)
