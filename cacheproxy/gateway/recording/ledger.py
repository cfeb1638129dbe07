"""Usage events into PostgreSQL, each once.

The usual way is one binary COPY straight into the table: one statement, one transaction. A lone event is inserted
instead, in one round trip where COPY takes two. Either refuses the whole batch for one repeated id, so then the same
batch goes through a staging table with ON CONFLICT DO NOTHING; and where the rows themselves are refused, one by
one, so that a bad event takes nobody with it.
"""

import asyncio
import enum
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import AWAY, EVENT_PROBLEMS, DatabaseAway, connect, describe
from metering.usage_event import COLUMNS, UsageEvent

logger = logging.getLogger(__name__)

TABLE = "metering_usageevent"
_COLUMNS = ", ".join(COLUMNS)
_STAGE = f"CREATE TEMP TABLE staged_usageevent (LIKE {TABLE} INCLUDING DEFAULTS) ON COMMIT DROP"
_INSERT = (
    f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES ({', '.join(f'${n}' for n in range(1, len(COLUMNS) + 1))})"  # noqa: S608
)
_MERGE = f"""
    INSERT INTO {TABLE} ({_COLUMNS}) SELECT {_COLUMNS} FROM staged_usageevent
    ON CONFLICT (tenant_id, event_id) DO NOTHING
"""  # noqa: S608 - names from our own code
_KEEP_CONFLICTS = f"""
    WITH conflicting AS (
        SELECT DISTINCT ON (tenant_id, event_id, staged.payload_digest)
               staged.*, recorded.payload_digest AS recorded_digest
        FROM staged_usageevent AS staged JOIN {TABLE} AS recorded USING (tenant_id, event_id)
        WHERE staged.payload_digest <> recorded.payload_digest
    ), kept AS (
        INSERT INTO metering_usageconflict (tenant_id, event_id, recorded_digest, refused_digest, refused, seen_at)
        SELECT tenant_id, event_id, recorded_digest, payload_digest, to_jsonb(conflicting) - 'recorded_digest', now()
        FROM conflicting
        WHERE NOT EXISTS (
            SELECT FROM metering_usageconflict AS known
            WHERE known.tenant_id = conflicting.tenant_id AND known.event_id = conflicting.event_id
              AND known.refused_digest = conflicting.payload_digest
        )
    )
    SELECT event_id FROM conflicting
"""  # noqa: S608 - names from our own code


class Verdict(enum.Enum):
    """Why an event was not recorded. Recorded now or before is no verdict: that is what should be."""

    CONFLICTED = "the same id is recorded with other content"
    REFUSED = "the table does not take such an event"


class Ledger:
    """The recorder's own connection. One caller at a time."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._connection: Any = None

    async def write(self, events: Sequence[UsageEvent]) -> Mapping[UUID, Verdict]:
        """Commit *events*, and return the verdicts on those that could not be; {} is the usual answer.

        Idempotent by event id: after a failure, writing the same events again is safe.

        Raises:
            DatabaseAway: the batch is committed or not, nobody knows; write it again later.
        """
        try:
            async with asyncio.timeout(self._settings.database_timeout_seconds):
                return await self._write(await self._connected(), events)
        except AWAY as failure:
            self._drop_connection()
            raise DatabaseAway(describe(failure)) from failure

    async def connect(self) -> None:
        """Make sure that there is a connection, so that the first call does not wait for one.

        Raises:
            DatabaseAway: there is none to be had.
        """
        await self._connected()

    async def close(self) -> None:
        """Close the connection; the next write opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(timeout=1)

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._settings, application_name="zerorate gateway: recorder")
        return self._connection

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _write(self, connection: Any, events: Sequence[UsageEvent]) -> Mapping[UUID, Verdict]:
        try:
            if len(events) == 1:
                await connection.execute(_INSERT, *_record(events[0]))
            else:
                await _copy(connection, TABLE, events)
        except EVENT_PROBLEMS:
            return await _write_carefully(connection, events)
        return {}


async def _write_carefully(connection: Any, events: Sequence[UsageEvent]) -> Mapping[UUID, Verdict]:
    """Write events of which some are already there, or bad, halving the batch until the bad ones stand alone."""
    try:
        return await _merge(connection, events)
    except EVENT_PROBLEMS as problem:
        if len(events) == 1:
            logger.error("The usage event %s is refused by the database: %s", events[0].event_id, problem)  # noqa: TRY400
            return {events[0].event_id: Verdict.REFUSED}
    middle = len(events) // 2
    first = await _write_carefully(connection, events[:middle])
    second = await _write_carefully(connection, events[middle:])
    return {**first, **second}


async def _merge(connection: Any, events: Sequence[UsageEvent]) -> Mapping[UUID, Verdict]:
    async with connection.transaction():
        await connection.execute(_STAGE)
        await _copy(connection, "staged_usageevent", events)
        await connection.execute(_MERGE)
        conflicting = await connection.fetch(_KEEP_CONFLICTS)
    for row in conflicting:
        logger.error(
            "The usage event %s is already recorded with other content; the new one is kept as a conflict.",
            row["event_id"],
        )
    return {row["event_id"]: Verdict.CONFLICTED for row in conflicting}


async def _copy(connection: Any, table: str, events: Sequence[UsageEvent]) -> None:
    await connection.copy_records_to_table(table, records=map(_record, events), columns=COLUMNS)


def _record(event: UsageEvent) -> tuple[Any, ...]:
    values = msgspec.structs.astuple(event)
    return values if event.raw_usage is None else (*values[:-1], event.raw_usage.decode())
