"""Hourly sums of usage events, each event counted exactly once (law L4).

Progress is measured in transactions, not in time or sequence. PostgreSQL names the oldest transaction still
under way (`pg_snapshot_xmin`); every event of an older one is committed and visible, or never will be. A
roll-up counts the events of transactions from the last such watermark up to the new one, and moves the
watermark in the same transaction: a crash leaves both or neither, and an event committed late waits its turn.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from django.db import connection, transaction

from metering.errors import ForeignCluster, TransactionCounterBehind
from metering.models import RollupProgress, UsageRollup
from metering.usage_sums import COUNTS

CHUNK_EVENTS = 200_000

_SUMS = ", ".join(f"sum({count})::bigint AS {count}" for count in COUNTS)
_COLUMNS = ", ".join(COUNTS)
_ADDITIONS = ", ".join(f"{count} = total.{count} + excluded.{count}" for count in COUNTS)

# A row's watermark is one above its youngest transaction: it tells the same tale after a rebuild.
_COUNT_EVENTS = f"""
WITH fresh AS MATERIALIZED (
    SELECT tenant_id, api_key_id, date_trunc('hour', occurred_at, 'UTC') AS hour,
           model, model_version, outcome, quality,
           count(*) AS calls, {_SUMS}, max(xact_id) + 1 AS watermark, max(occurred_at) AS last_at
    FROM metering_usageevent
    WHERE xact_id >= %(low)s AND xact_id < %(high)s
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), merged AS (
    INSERT INTO metering_usagerollup AS total
        (tenant_id, api_key_id, hour, model, model_version, outcome, quality, calls, {_COLUMNS}, watermark)
    SELECT tenant_id, api_key_id, hour, model, model_version, outcome, quality, calls, {_COLUMNS}, watermark
    FROM fresh
    ON CONFLICT (tenant_id, hour, model, model_version, outcome, quality, api_key_id) DO UPDATE
    SET calls = total.calls + excluded.calls, {_ADDITIONS},
        watermark = greatest(total.watermark, excluded.watermark)
), used AS (
    UPDATE tenants_apikey AS key SET last_used_at = latest.last_at
    FROM (SELECT api_key_id, max(last_at) AS last_at FROM fresh GROUP BY 1) AS latest
    WHERE key.id = latest.api_key_id AND (key.last_used_at IS NULL OR key.last_used_at < latest.last_at)
)
SELECT coalesce(sum(calls), 0)::bigint FROM fresh
"""  # noqa: S608 (column names of our own)


class RolledUp(NamedTuple):
    """How many events a roll-up counted, and the watermark below which all are counted now."""

    events: int
    watermark: int


def roll_up(
    *,
    now: datetime,
    chunk_events: int = CHUNK_EVENTS,
    on_progress: Callable[[int], object] = lambda _events: None,
) -> RolledUp:
    """Count every event committed before the call began, in transactions of about `chunk_events` each.

    Moves the keys' `last_used_at` forward too. Roll-ups exclude one another by the lock on the progress row,
    and any number may run. `on_progress` is told the events of each chunk once it is committed.

    Raises:
        ForeignCluster: the database was restored into another cluster; rebuild first.
    """
    goal = _safe_watermark()
    counted = 0
    while True:
        chunk = _roll_up_chunk(now=now, limit=chunk_events)
        counted += chunk.events
        on_progress(chunk.events)
        if chunk.watermark >= goal:
            return RolledUp(counted, chunk.watermark)


@transaction.atomic
def rebuild(*, now: datetime) -> RolledUp:
    """Throw all rollups away and count every event again, in one transaction; adopts the cluster it runs on.

    Raises:
        TransactionCounterBehind: after a restore into a younger cluster, whose transaction ids would be
            mistaken for those of the restored events.
    """
    progress = RollupProgress.objects.select_for_update().get()
    watermark = _safe_watermark()
    _refuse_ids_from_the_future(progress.watermark)
    UsageRollup.objects.all().delete()
    events = _count_events(low=0, high=watermark)
    progress.system_identifier = _system_identifier()
    _move(progress, watermark, now)
    return RolledUp(events, watermark)


@transaction.atomic
def _roll_up_chunk(*, now: datetime, limit: int) -> RolledUp:
    progress = RollupProgress.objects.select_for_update().get()
    if progress.system_identifier != _system_identifier():
        raise ForeignCluster(
            "These rollups were counted on another PostgreSQL cluster (the database is a restored dump), so "
            "transaction ids cannot be compared. Run: manage.py roll_up_usage --rebuild"
        )
    watermark = _chunk_end(progress.watermark, _safe_watermark(), limit)
    events = _count_events(low=progress.watermark, high=watermark)
    _move(progress, watermark, now)
    return RolledUp(events, watermark)


def _move(progress: RollupProgress, watermark: int, now: datetime) -> None:
    progress.watermark = watermark
    progress.rolled_up_at = now
    progress.save()


def _chunk_end(low: int, high: int, limit: int) -> int:
    """Return the transaction id up to which about `limit` events wait; whole transactions, at least one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_id FROM metering_usageevent WHERE xact_id >= %s AND xact_id < %s"
            " ORDER BY xact_id OFFSET %s LIMIT 1",
            [low, high, limit],
        )
        row = cursor.fetchone()
    return high if row is None else max(int(row[0]), low + 1)


def _count_events(*, low: int, high: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_EVENTS, {"low": low, "high": high})
        return int(cursor.fetchone()[0])


def _refuse_ids_from_the_future(watermark: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
            " coalesce(greatest((SELECT max(xact_id) FROM metering_usageevent),"
            " (SELECT max(xact_id) FROM metering_wronghit)), 0)"
        )
        next_id, youngest = cursor.fetchone()
    needed = max(youngest + 1, watermark)
    if needed > next_id:
        raise TransactionCounterBehind(
            f"Restored events bear transaction ids up to {needed - 1}, but this cluster is at {next_id}: "
            "new events could not be told from them. Stop PostgreSQL, move its counter past them with "
            f"pg_resetwal --next-transaction-id={needed % 2**32} --epoch={needed // 2**32}, and try again."
        )


def _safe_watermark() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return int(cursor.fetchone()[0])


def _system_identifier() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT system_identifier FROM pg_control_system()")
        return int(cursor.fetchone()[0])
