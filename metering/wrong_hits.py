"""Which semantic hits were proven wrong, with the usage of each as its event has it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from metering.periods import Period
from metering.tokens import BILLABLE
from metering.usage_sums import UsageSum

_COUNTS = ", ".join(f"event.{pool}" for pool in BILLABLE)

# A hit whose event is not recorded yet (the outage spool holds it) waits for it: what was not charged is not credited.
_WRONG_HITS = f"""
SELECT hit.id, event.occurred_at, event.model, event.outcome, event.quality, {_COUNTS}
FROM metering_wronghit AS hit
JOIN metering_usageevent AS event ON event.tenant_id = hit.tenant_id AND event.event_id = hit.event_id
WHERE hit.tenant_id = %(tenant_id)s AND hit.id <> ALL (%(without)s::bigint[]) AND event.outcome = 'semantic'
    AND hit.xact_id < %(below)s AND event.xact_id < %(below)s AND event.occurred_at < %(before)s
ORDER BY event.occurred_at, event.event_id
"""  # noqa: S608 (column names of our own)


class WrongUsage(NamedTuple):
    """The usage of a hit that was proven wrong: one call, of which nothing was of use."""

    wrong_hit_id: int
    usage: UsageSum


def wrong_usage(
    *, tenant_id: int, before: datetime, below: int, without: Sequence[int] = ()
) -> list[WrongUsage]:
    """Return a tenant's wrong hits that occurred before an instant, as they occurred, but for those in *without*.

    Only what transactions below the watermark `below` have written counts, the event as the proof.
    """
    parameters: dict[str, Any] = {
        "tenant_id": tenant_id,
        "before": before,
        "below": below,
        "without": list(without),
    }
    with connection.cursor() as cursor:
        cursor.execute(_WRONG_HITS, parameters)
        return [
            WrongUsage(
                wrong_hit_id,
                UsageSum(
                    Period(instant, instant),
                    model,
                    outcome,
                    quality,
                    1,
                    dict(zip(BILLABLE, quantities, strict=True)),
                ),
            )
            for wrong_hit_id, instant, model, outcome, quality, *quantities in cursor.fetchall()
        ]
