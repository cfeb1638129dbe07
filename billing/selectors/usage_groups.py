"""Usage by hour, day, model and so on: the figures of the usage API, from the rollups."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.rating.invoice_lines import change_instants
from billing.selectors.contracts import contracts_within
from billing.selectors.savings import Figures, grouped, rated_part
from metering.periods import Period, floor_hour
from metering.selectors import rollup_watermark, usage_between
from metering.usage_sums import UsageSum
from tenants.models import Tenant

DIMENSIONS: dict[str, Callable[[UsageSum], Any]] = {
    "day": lambda usage: floor_hour(usage.span.start).replace(hour=0),
    "hour": lambda usage: floor_hour(usage.span.start),
    "model": lambda usage: usage.model,
    "outcome": lambda usage: usage.outcome,
    "quality": lambda usage: usage.quality,
}
"""What usage can be grouped by, and what of it names the group; hours and days by their start, UTC."""

_LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_AS_KNOWN_NOW = datetime.max.replace(tzinfo=UTC)


def usage_groups(
    *, tenant: Tenant, period: Period, group_by: Sequence[str], model: str | None, outcome: str | None
) -> dict[tuple[Any, ...], Figures]:
    """Return a period's figures for each group that has any, in order; a group is named by its values.

    The period is of whole hours; `group_by` names some of `DIMENSIONS`. Where a `model` or an `outcome` is given
    the others are left out.
    """
    contracts = contracts_within(tenant_id=tenant.pk, period=period, priced_at=_AS_KNOWN_NOW)
    usage = usage_between(
        tenant_id=tenant.pk,
        period=period,
        cuts=change_instants(contracts) | _starts(period, group_by),
        below=rollup_watermark(),
    )
    parts = [
        rated_part(part, contracts)
        for part in usage
        if model in {None, part.model} and outcome in {None, part.outcome}
    ]
    groups = grouped(parts, lambda usage: tuple(DIMENSIONS[name](usage) for name in group_by))
    return dict(sorted(groups.items()))


def _starts(period: Period, group_by: Sequence[str]) -> set[datetime]:
    """Return the starts of the period's hours or days, whichever usage is grouped by: a sum may not reach over one."""
    length = next((_LENGTHS[name] for name in ("hour", "day") if name in group_by), None)
    if length is None:
        return set()
    midnight = period.start.replace(hour=0)
    return {midnight + length * count for count in range((period.end - midnight) // length + 1)}
