"""Where usage events wait while PostgreSQL is away: a stream in Redis.

An event in the spool is as good as recorded: it was acknowledged by Redis before the call was. It may also be
in PostgreSQL already (a commit whose acknowledgement was lost); both ways in are idempotent by event id, so
draining is exactly once whoever does it, however often. The lease only keeps gateways from doing the same work
twice. What cannot be read or is refused for good moves to a second stream, for an operator to look at.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError

from cacheproxy.gateway.database import describe
from cacheproxy.gateway.ledger import Verdict
from metering.usage_event import InvalidUsageEvent, UsageEvent, from_json, to_json

logger = logging.getLogger(__name__)

STREAM = "zerorate:spool"
REFUSED_STREAM = "zerorate:spool:refused"
LEASE = "zerorate:spool:lease"
LEASE_MS = 5_000
ENTRIES_PER_ROUND = 20
TIMEOUT_SECONDS = 1.0

Write = Callable[[Sequence[UsageEvent]], Awaitable[Mapping[UUID, Verdict]]]


class SpoolAway(Exception):
    """Redis did not take the events, or may not have."""


class Spool:
    """Batches of usage events in Redis: one stream entry per batch, one field per event."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._token = secrets.token_hex(8).encode()
        self.last_depth = 0
        """What `depth` last said; the recorder's watch asks it all the time."""
        self.away = False
        """Whether the last command failed."""

    async def append(self, events: Sequence[UsageEvent]) -> None:
        """Keep *events* until they are drained.

        Raises:
            SpoolAway: Redis did not say within a second that it has them.
        """
        fields = {str(event.event_id): to_json(event) for event in events}
        await self._ask(self._client.xadd(STREAM, fields))

    async def depth(self) -> int:
        """Return how many batches wait.

        Raises:
            SpoolAway: Redis does not answer.
        """
        self.last_depth = int(await self._ask(self._client.xlen(STREAM)))
        return self.last_depth

    async def drain(self, write: Write) -> int:
        """Write what waits, oldest first, while this process holds the lease; return the number of events.

        An entry leaves the spool after *write* has returned for it. What *write* raises ends the round.

        Raises:
            SpoolAway: Redis does not answer; what was not removed is drained again later.
        """
        drained = 0
        while await self.depth() and await self._hold_lease():
            for entry_id, fields in await self._ask(self._client.xrange(STREAM, count=ENTRIES_PER_ROUND)):
                drained += await self._drain_entry(entry_id, fields, write)
        return drained

    async def _drain_entry(self, entry_id: bytes, fields: Mapping[bytes, bytes], write: Write) -> int:
        readable: dict[bytes, UsageEvent] = {}
        refused: dict[bytes, bytes] = {}
        for name, text in fields.items():
            try:
                readable[name] = from_json(text)
            except InvalidUsageEvent:
                refused[name] = text
        verdicts = await write(list(readable.values())) if readable else {}
        for name, event in readable.items():
            if verdicts.get(event.event_id) is Verdict.REFUSED:
                refused[name] = fields[name]
        if refused:
            logger.error(
                "%d spooled usage events cannot be recorded; they are in the Redis stream %s.",
                len(refused),
                REFUSED_STREAM,
            )
            await self._ask(self._client.xadd(REFUSED_STREAM, refused))
        await self._ask(self._client.xdel(STREAM, entry_id))
        return len(readable)

    async def _hold_lease(self) -> bool:
        if await self._ask(self._client.set(LEASE, self._token, nx=True, px=LEASE_MS)):
            return True
        if await self._ask(self._client.get(LEASE)) != self._token:
            return False
        await self._ask(self._client.pexpire(LEASE, LEASE_MS))
        return True

    async def _ask(self, command: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                reply = await command
        except (RedisError, OSError, TimeoutError) as failure:
            self.away = True
            raise SpoolAway(describe(failure)) from failure
        self.away = False
        return reply
