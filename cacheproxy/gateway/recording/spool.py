"""Where usage events wait while PostgreSQL is away: a stream in Redis.

An event in the spool is as good as recorded: it was acknowledged by Redis before the call was. It may also be
in PostgreSQL already (a commit whose acknowledgement was lost); both ways in are idempotent by event id, so
draining is exactly once whoever does it, however often. The lease only keeps gateways from doing the same work
twice. What cannot be read or is refused for good moves to a second stream, for an operator to look at.
"""

import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Any
from uuid import UUID

from cacheproxy.gateway.recording.ledger import Verdict
from cacheproxy.redis_link import Argument, RedisAway, RedisLink, RedisRefused
from metering.usage_event import InvalidUsageEvent, UsageEvent, from_json, to_json

logger = logging.getLogger(__name__)

STREAM = "zerorate:spool"
REFUSED_STREAM = "zerorate:spool:refused"
LEASE = "zerorate:spool:lease"
LEASE_MS = 5_000
ENTRIES_PER_ROUND = 20
BUDGET_SECONDS = 1.0
"""Of the spool's own link: a batch may take longer than a look-up, and must not stand in the way of one."""

Write = Callable[[Sequence[UsageEvent]], Awaitable[Mapping[UUID, Verdict]]]


class SpoolAway(Exception):
    """Redis did not take the events, or may not have."""


class Spool:
    """Batches of usage events in Redis: one stream entry per batch, one field per event."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._token = secrets.token_hex(8).encode()
        self.last_depth = 0
        """What `depth` last said; the recorder's watch asks it all the time."""
        self.away = False
        """Whether the last command failed."""

    async def connect(self) -> None:
        """Connect; what cannot be reached is tried again in the background, and ``append`` says so until then."""
        with contextlib.suppress(RedisAway):
            await self._link.connect()

    async def append(self, events: Sequence[UsageEvent]) -> None:
        """Keep *events* until they are drained.

        Raises:
            SpoolAway: Redis did not say within a second that it has them.
        """
        await self._add(STREAM, {str(event.event_id).encode(): to_json(event) for event in events})

    async def depth(self) -> int:
        """Return how many batches wait.

        Raises:
            SpoolAway: Redis does not answer.
        """
        self.last_depth = int(await self._ask("XLEN", STREAM))
        return self.last_depth

    async def drain(self, write: Write) -> int:
        """Write what waits, oldest first, while this process holds the lease; return the number of events.

        An entry leaves the spool after *write* has returned for it. What *write* raises ends the round.

        Raises:
            SpoolAway: Redis does not answer; what was not removed is drained again later.
        """
        drained = 0
        while await self.depth() and await self._hold_lease():
            for entry_id, flat in await self._ask("XRANGE", STREAM, "-", "+", "COUNT", ENTRIES_PER_ROUND):
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
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
            await self._add(REFUSED_STREAM, refused)
        await self._ask("XDEL", STREAM, entry_id)
        return len(readable)

    async def _hold_lease(self) -> bool:
        if await self._ask("SET", LEASE, self._token, "NX", "PX", LEASE_MS):
            return True
        if await self._ask("GET", LEASE) != self._token:
            return False
        await self._ask("PEXPIRE", LEASE, LEASE_MS)
        return True

    async def _add(self, stream: str, fields: Mapping[bytes, bytes]) -> None:
        await self._ask("XADD", stream, "*", *chain.from_iterable(fields.items()))

    async def _ask(self, *command: Argument) -> Any:
        try:
            reply = await self._link.ask(*command)
        except (RedisAway, RedisRefused) as failure:
            self.away = True
            raise SpoolAway(str(failure)) from failure
        self.away = False
        return reply
