"""The usage of many tenants at once, in one statement and so at one moment."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from metering.periods import Period, floor_hour
from metering.tokens import BILLABLE
from metering.usage_sums import UsageSum

_SUMS = ", ".join(f"sum({pool})::bigint" for pool in BILLABLE)
_COLUMNS = ", ".join(BILLABLE)

# Whole hours come from the rollups; of an hour that a cut divides, the events of those tenants that have any,
# as far as they are rolled up. width_bucket finds the span of an instant.
_USAGE = f"""
WITH rolled AS (
    SELECT * FROM metering_usagerollup WHERE hour >= %(start)s AND hour < %(end)s
        AND (%(tenant_ids)s::bigint[] IS NULL OR tenant_id = ANY (%(tenant_ids)s::bigint[]))
), used AS (
    SELECT tenant_id, hour AS instant, model, outcome, quality, calls, {_COLUMNS}
    FROM rolled WHERE hour <> ALL (%(cut_hours)s::timestamptz[])
    UNION ALL
    SELECT event.tenant_id, event.occurred_at, event.model, event.outcome, event.quality, 1, {_COLUMNS}
    FROM (SELECT DISTINCT tenant_id, hour FROM rolled WHERE hour = ANY (%(cut_hours)s::timestamptz[])) AS cut
    JOIN (
        SELECT * FROM metering_usageevent WHERE xact_id < (SELECT watermark FROM metering_rollupprogress)
    ) AS event ON event.tenant_id = cut.tenant_id
        AND event.occurred_at >= cut.hour AND event.occurred_at < cut.hour + interval '1 hour'
)
SELECT tenant_id, width_bucket(instant, %(starts)s::timestamptz[]), model, outcome, quality,
       sum(calls)::bigint, {_SUMS}
FROM used GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""  # noqa: S608 (column names of our own)


class TenantUsage(NamedTuple):
    """A sum of usage, and whose it is."""

    tenant_id: int
    usage: UsageSum


def usage_by_tenant(
    *, period: Period, cuts: Iterable[datetime], tenant_ids: Collection[int] | None = None
) -> list[TenantUsage]:
    """Sum rolled-up usage over a period of whole hours, apart for each tenant and each span between `cuts`.

    None for `tenant_ids` means all. Costs O(rolled-up hours of the period), plus the events of cut hours.
    """
    spans = period.split(cuts)
    parameters: dict[str, Any] = {
        "start": period.start,
        "end": period.end,
        "starts": [span.start for span in spans],
        "cut_hours": sorted(
            {floor_hour(span.start) for span in spans if span.start != floor_hour(span.start)}
        ),
        "tenant_ids": None if tenant_ids is None else list(tenant_ids),
    }
    with connection.cursor() as cursor:
        cursor.execute(_USAGE, parameters)
        return [_tenant_usage(row, spans) for row in cursor.fetchall()]


def _tenant_usage(row: Sequence[Any], spans: Sequence[Period]) -> TenantUsage:
    tenant_id, span, model, outcome, quality, calls, *quantities = row
    by_pool = dict(zip(BILLABLE, quantities, strict=True))
    return TenantUsage(tenant_id, UsageSum(spans[span - 1], model, outcome, quality, calls, by_pool))
