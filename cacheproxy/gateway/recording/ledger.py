"""Usage events into PostgreSQL, each once.

A batch goes as one JSON text, in one statement, one round trip and one transaction. It is refused whole for one
repeated id, so then the same batch goes again with ON CONFLICT DO NOTHING; and where the rows themselves are refused,
one by one, so that a bad event takes nobody with it.
"""

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

import psycopg

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import DatabaseAway, describe
from cacheproxy.gateway.recording.lane import Ended, Lane
from metering.usage_event import COLUMNS, UsageEvent, batch_to_json

logger = logging.getLogger(__name__)

TABLE = "metering_usageevent"
EVENT_PROBLEMS = (psycopg.DataError, psycopg.IntegrityError)
"""Failures that are about the rows sent (SQLSTATE 22 and 23); they would come again."""

AWAY = (OSError, TimeoutError, psycopg.Error)
"""All other failures: lost connections, shutdown, disk full, a read-only standby, a missing table. Time or an
operator cures them, and until then the event belongs into the spool."""


class Overdue(psycopg.OperationalError):
    """A batch was not answered in time."""


_TYPES = {
    "event_id": "uuid",
    "request_id": "uuid",
    "model": "text",
    "model_version": "text",
    "outcome": "text",
    "occurred_at": "timestamptz",
    "quality": "text",
    "source_event": "uuid",
    "similarity": "real",
    "status": "smallint",
    "payload_digest": "text",
    "raw_usage": "text",
}
"""How a column is read from JSON; all others are ``bigint``."""

_READ = {  # JSON carries bytes as base64
    "payload_digest": "decode(payload_digest, 'base64')",
    "raw_usage": "convert_from(decode(raw_usage, 'base64'), 'UTF8')::jsonb",
}
_COLUMNS = ", ".join(COLUMNS)


def _given(parameter: str) -> str:
    """Return the query for the events of a batch, whose JSON text *parameter* stands for."""
    read = ", ".join(f"{_READ.get(column, column)} AS {column}" for column in COLUMNS)
    record = ", ".join(f"{column} {_TYPES.get(column, 'bigint')}" for column in COLUMNS)
    return f"SELECT {read} FROM json_to_recordset({parameter}::json) AS given ({record})"  # noqa: S608


_INSERT = f"INSERT INTO {TABLE} ({_COLUMNS}) {_given('$1')}"
_MERGE = f"INSERT INTO {TABLE} ({_COLUMNS}) {_given('%s')} ON CONFLICT (tenant_id, event_id) DO NOTHING"
_KEEP_CONFLICTS = f"""
    WITH given AS ({_given("%s")}), conflicting AS (
        SELECT DISTINCT ON (tenant_id, event_id, given.payload_digest)
               given.*, recorded.payload_digest AS recorded_digest
        FROM given JOIN {TABLE} AS recorded USING (tenant_id, event_id)
        WHERE given.payload_digest <> recorded.payload_digest
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


class Named(Protocol):
    """A fact about one call, written once under its event's id."""

    @property
    def event_id(self) -> UUID:
        """The id."""


Fact = TypeVar("Fact", bound=Named)
Write = Callable[[Sequence[Fact]], Awaitable[Mapping[UUID, Verdict]]]
"""Commits facts, all or none, and returns the verdicts on those that could not be."""


class Ledger:
    """The recorder's own connection. One caller at a time."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._lane: Lane | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._lane is not None and self._lane.is_open

    def begin(self, events: Sequence[UsageEvent], ended: Ended) -> None:
        """Commit *events* through the open connection; *ended* is told, with the failure where there is one.

        After a failure `write` knows more, unless it is `Overdue`: the connection is given up.
        """
        lane = self._lane
        assert lane is not None, "there is an open connection"
        overdue = asyncio.get_running_loop().call_later(
            self._settings.database_timeout_seconds, self._give_up, ended
        )

        def end(failure: psycopg.Error | None) -> None:
            overdue.cancel()
            ended(failure)

        try:
            lane.begin(batch_to_json(events), end)
        except psycopg.Error as failure:
            end(failure)

    def look(self) -> None:
        """See whether what was begun has ended by now, rather than at the event loop's next turn."""
        if self._lane is not None:
            self._lane.look()

    def _give_up(self, ended: Ended) -> None:
        if self._lane is not None:
            self._lane.close()
        ended(Overdue("no answer in time"))

    async def write(self, events: Sequence[UsageEvent]) -> Mapping[UUID, Verdict]:
        """Commit *events*, and return the verdicts on those that could not be; {} is the usual answer.

        Idempotent by event id: after a failure, writing the same events again is safe.

        Raises:
            DatabaseAway: the batch is committed or not, nobody knows; write it again later.
        """
        try:
            async with asyncio.timeout(self._settings.database_timeout_seconds):
                return await _write(await self._open_lane(), events)
        except AWAY as failure:
            await self.close()
            raise DatabaseAway(describe(failure)) from failure

    async def connect(self) -> None:
        """Make sure that there is a connection, so that the first call does not wait for one.

        Raises:
            DatabaseAway: there is none to be had.
        """
        try:
            async with asyncio.timeout(self._settings.database_timeout_seconds):
                await self._open_lane()
        except AWAY as failure:
            raise DatabaseAway(describe(failure)) from failure

    async def close(self) -> None:
        """Close the connection; the next write opens another."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.close()

    async def _open_lane(self) -> Lane:
        if self._lane is None or not self._lane.is_open:
            name = "zerorate gateway: recorder"
            self._lane = await Lane.open(self._settings, _INSERT, application_name=name)
        return self._lane


async def write_carefully(write: Write[Fact], facts: Sequence[Fact]) -> Mapping[UUID, Verdict]:
    """Write facts of which some may be refused, halving the batch until those stand alone."""
    try:
        return await write(facts)
    except EVENT_PROBLEMS as problem:
        if len(facts) == 1:
            fact = facts[0]
            logger.error("The database refuses the %s %s: %s", type(fact).__name__, fact.event_id, problem)  # noqa: TRY400
            return {fact.event_id: Verdict.REFUSED}
    middle = len(facts) // 2
    first = await write_carefully(write, facts[:middle])
    second = await write_carefully(write, facts[middle:])
    return {**first, **second}


async def _write(lane: Lane, events: Sequence[UsageEvent]) -> Mapping[UUID, Verdict]:
    try:
        await lane.run(batch_to_json(events))
    except EVENT_PROBLEMS:
        return await write_carefully(partial(_merge, lane), events)
    return {}


async def _merge(lane: Lane, events: Sequence[UsageEvent]) -> Mapping[UUID, Verdict]:
    batch = batch_to_json(events).decode()
    async with lane.transaction():
        await lane.fetch(_MERGE, [batch])
        conflicting = await lane.fetch(_KEEP_CONFLICTS, [batch])
    for (event_id,) in conflicting:
        logger.error(
            "The usage event %s is already recorded with other content; the new one is kept as a conflict.",
            event_id,
        )
    return {event_id: Verdict.CONFLICTED for (event_id,) in conflicting}
