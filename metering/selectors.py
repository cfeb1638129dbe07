"""Questions about usage. Values out; nothing is written."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from metering.models import RollupProgress, UsageEvent
from metering.periods import Period, floor_hour, month_of
from metering.tokens import BILLABLE
from metering.usage_sums import COUNTS, UsageSum

_HOUR = timedelta(hours=1)
_SUMS = ", ".join(f"sum({pool})::bigint" for pool in BILLABLE)

# width_bucket finds the span of an instant: the number of span starts at or before it.
_FROM_ROLLUPS = f"""
SELECT width_bucket(hour, %(starts)s::timestamptz[]), model, outcome, quality, sum(calls)::bigint, {_SUMS}
FROM metering_usagerollup
WHERE tenant_id = %(tenant_id)s AND hour >= %(start)s AND hour < %(end)s
    AND (%(api_key_id)s::bigint IS NULL OR api_key_id = %(api_key_id)s)
    AND hour <> ALL (%(cut_hours)s::timestamptz[])
GROUP BY 1, 2, 3, 4
"""  # noqa: S608 (column names of our own)

_FROM_EVENTS = f"""
SELECT width_bucket(occurred_at, %(starts)s::timestamptz[]), model, outcome, quality, count(*), {_SUMS}
FROM unnest(%(read_starts)s::timestamptz[], %(read_ends)s::timestamptz[]) AS read (start_at, end_at)
JOIN metering_usageevent ON tenant_id = %(tenant_id)s AND occurred_at >= start_at AND occurred_at < end_at
WHERE xact_id < %(below)s AND (%(api_key_id)s::bigint IS NULL OR api_key_id = %(api_key_id)s)
GROUP BY 1, 2, 3, 4
"""  # noqa: S608 (column names of our own)

_KEY = ("tenant_id", "api_key", "hour", "model", "model_version", "outcome", "quality")
_FIGURES = ("calls", *COUNTS)
_DIFFERENCES = f"""
SELECT {", ".join(_KEY)}, {", ".join(f"rolled.{name}" for name in _FIGURES)},
       {", ".join(f"counted.{name}" for name in _FIGURES)}
FROM (
    SELECT tenant_id, coalesce(api_key_id, 0) AS api_key, hour, model, model_version,
           outcome::text, quality::text, {", ".join(_FIGURES)}
    FROM metering_usagerollup WHERE hour >= %(start)s AND hour < %(end)s
) AS rolled
FULL JOIN (
    SELECT tenant_id, coalesce(api_key_id, 0) AS api_key, date_trunc('hour', occurred_at, 'UTC') AS hour,
           model, model_version, outcome, quality,
           count(*) AS calls, {", ".join(f"sum({name})::bigint AS {name}" for name in COUNTS)}
    FROM metering_usageevent WHERE xact_id < %(below)s AND occurred_at >= %(start)s AND occurred_at < %(end)s
    GROUP BY 1, 2, 3, 4, 5, 6, 7
) AS counted USING ({", ".join(_KEY)})
WHERE ({", ".join(f"rolled.{name}" for name in _FIGURES)})
    IS DISTINCT FROM ({", ".join(f"counted.{name}" for name in _FIGURES)})
ORDER BY {", ".join(_KEY)} LIMIT %(limit)s
"""  # noqa: S608 (column names of our own)

_EVER = Period(datetime.fromisoformat("1970-01-01T00:00:00Z"), datetime.fromisoformat("9999-12-31T00:00:00Z"))


class MonthOfUsage(NamedTuple):
    """A month in which a tenant has usage; `watermark` is one above its youngest transaction."""

    period: Period
    watermark: int


class RollupDifference(NamedTuple):
    """An hour's sum that differs from its events: calls, then COUNTS; None where a side has no row."""

    key: tuple[Any, ...]
    rolled_up: tuple[int, ...] | None
    counted: tuple[int, ...] | None


def rollup_watermark() -> int:
    """Return the transaction id below which every event is in the rollups."""
    return RollupProgress.objects.values_list("watermark", flat=True).get()


def count_waiting_events() -> int:
    """Return how many visible events are not rolled up yet. Costs as much as there are."""
    return UsageEvent.objects.filter(xact_id__gte=rollup_watermark()).count()


def usage_between(
    *, tenant_id: int, period: Period, cuts: Iterable[datetime], below: int, api_key_id: int | None = None
) -> list[UsageSum]:
    """Sum a tenant's usage over a period of whole hours, apart for each span between `cuts`.

    With `api_key_id`, that of one of its keys. Whole hours come from the rollups; an hour that a cut divides
    is read from its events, of transactions below the watermark `below` only, so that both tell of the same
    events. Read in one snapshot.
    """
    spans = period.split(cuts)
    cut_hours = sorted({floor_hour(span.start) for span in spans if span.start != floor_hour(span.start)})
    parameters = {
        "tenant_id": tenant_id,
        "api_key_id": api_key_id,
        "starts": [span.start for span in spans],
        "start": period.start,
        "end": period.end,
        "cut_hours": cut_hours,
        "read_starts": cut_hours,
        "read_ends": [hour + _HOUR for hour in cut_hours],
        "below": below,
    }
    sums = list(_sums(_FROM_ROLLUPS, parameters, spans))
    if cut_hours:
        sums.extend(_sums(_FROM_EVENTS, parameters, spans))
    return _merged(sums)


def usage_from_events(
    *, tenant_id: int, period: Period, cuts: Iterable[datetime], below: int
) -> list[UsageSum]:
    """Sum the same from the events alone, of transactions below `below`. Costs O(events of the period)."""
    spans = period.split(cuts)
    parameters = {
        "tenant_id": tenant_id,
        "api_key_id": None,
        "starts": [span.start for span in spans],
        "read_starts": [period.start],
        "read_ends": [period.end],
        "below": below,
    }
    return _merged(_sums(_FROM_EVENTS, parameters, spans))


def months_of_usage(*, tenant_id: int, before: datetime) -> list[MonthOfUsage]:
    """Return the months, oldest first, in which the tenant has rolled-up usage before an instant."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT date_trunc('month', hour, 'UTC') AS month, max(watermark) FROM metering_usagerollup"
            " WHERE tenant_id = %s AND hour < %s GROUP BY 1 ORDER BY 1",
            [tenant_id, before],
        )
        return [MonthOfUsage(month_of(start), watermark) for start, watermark in cursor.fetchall()]


def months_of_usage_from_events(*, tenant_id: int, before: datetime, below: int) -> list[MonthOfUsage]:
    """Return the same from the events alone, of transactions below `below`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT date_trunc('month', occurred_at, 'UTC') AS month, max(xact_id) + 1"
            " FROM metering_usageevent WHERE tenant_id = %s AND occurred_at < %s AND xact_id < %s"
            " GROUP BY 1 ORDER BY 1",
            [tenant_id, before, below],
        )
        return [MonthOfUsage(month_of(start), watermark) for start, watermark in cursor.fetchall()]


def rollup_differences(*, period: Period | None, limit: int = 100) -> list[RollupDifference]:
    """Compare rollups with the events below the watermark, hour by hour; the first `limit` differences.

    Reads every event of the period, or of all time. Read in one snapshot.
    """
    start, end = period or _EVER
    with connection.cursor() as cursor:
        cursor.execute(
            _DIFFERENCES, {"start": start, "end": end, "below": rollup_watermark(), "limit": limit}
        )
        return [_difference(row) for row in cursor.fetchall()]


def _difference(row: Sequence[Any]) -> RollupDifference:
    key, figures = row[: len(_KEY)], row[len(_KEY) :]
    rolled_up, counted = figures[: len(_FIGURES)], figures[len(_FIGURES) :]
    return RollupDifference(
        key=tuple(key),
        rolled_up=None if rolled_up[0] is None else tuple(rolled_up),
        counted=None if counted[0] is None else tuple(counted),
    )


def _sums(query: str, parameters: dict[str, Any], spans: Sequence[Period]) -> Iterator[UsageSum]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        for span, model, outcome, quality, calls, *quantities in cursor.fetchall():
            yield UsageSum(
                spans[span - 1], model, outcome, quality, calls, dict(zip(BILLABLE, quantities, strict=True))
            )


def _merged(sums: Iterable[UsageSum]) -> list[UsageSum]:
    """Add up the sums of one span, model, outcome and quality, in that order."""
    merged: dict[tuple[Any, ...], UsageSum] = {}
    for part in sums:
        key = (part.span, part.model, part.outcome, part.quality)
        known = merged.get(key)
        merged[key] = part if known is None else _added(known, part)
    return [merged[key] for key in sorted(merged)]


def _added(left: UsageSum, right: UsageSum) -> UsageSum:
    quantities = {pool: left.quantities[pool] + right.quantities[pool] for pool in BILLABLE}
    return left._replace(calls=left.calls + right.calls, quantities=quantities)
