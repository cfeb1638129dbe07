"""Usage call by call: for what is rounded with each call, and for what has to know single calls."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from metering.periods import Period
from metering.tokens import BILLABLE
from metering.usage_sums import UsageSum

_COLUMNS = ", ".join(BILLABLE)
_WHOSE = """
tenant_id = %(tenant_id)s AND (%(api_key_id)s::bigint IS NULL OR api_key_id = %(api_key_id)s)
AND occurred_at >= %(start)s AND occurred_at < %(end)s
"""
_ALIKE = f"""
SELECT width_bucket(occurred_at, %(starts)s::timestamptz[]), model, outcome, quality, count(*), {_COLUMNS}
FROM metering_usageevent WHERE {_WHOSE} GROUP BY 1, 2, 3, 4, {_COLUMNS}
"""  # noqa: S608 (column names of our own)
_RECENT = f"SELECT event_id FROM metering_usageevent WHERE {_WHOSE} AND recorded_at > %(after)s"  # noqa: S608


class Whose(NamedTuple):
    """A tenant, or one of its keys."""

    tenant_id: int
    api_key_id: int | None


def calls_alike(*, whose: Whose, period: Period, cuts: Iterable[datetime]) -> Iterator[UsageSum]:
    """Yield the calls of a period, those that used the very same together: what *one* of them used, and how many.

    Reads every event of the period, rolled up or not. Spans between `cuts` are kept apart.
    """
    spans = period.split(cuts)
    with connection.cursor() as cursor:
        cursor.execute(_ALIKE, _parameters(whose, period) | {"starts": [span.start for span in spans]})
        for span, model, outcome, quality, calls, *quantities in cursor.fetchall():
            by_pool = dict(zip(BILLABLE, quantities, strict=True))
            yield UsageSum(spans[span - 1], model, outcome, quality, calls, by_pool)


def events_recorded_after(*, whose: Whose, period: Period, instant: datetime) -> list[str]:
    """Return the ids, in hexadecimal, of a period's events that were recorded after an instant."""
    with connection.cursor() as cursor:
        cursor.execute(_RECENT, _parameters(whose, period) | {"after": instant})
        return [event_id.hex for (event_id,) in cursor.fetchall()]


def _parameters(whose: Whose, period: Period) -> dict[str, Any]:
    return {**whose._asdict(), "start": period.start, "end": period.end}
