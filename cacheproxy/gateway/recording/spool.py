"""Where facts wait while PostgreSQL is away: a stream in Redis for each kind of them.

What is in a spool is as good as written: it was acknowledged by Redis before anybody relied on it. It may also be
in PostgreSQL already (a commit whose acknowledgement was lost); all ways in are idempotent by event id, so
draining is exactly once whoever does it, however often. The lease only keeps gateways from doing the same work
twice. What cannot be read or is refused for good moves to a second stream, for an operator to look at.
"""

import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple

from cacheproxy.gateway.recording.ledger import Fact, Verdict, Write
from cacheproxy.redis_link import Argument, RedisAway, RedisLink, RedisRefused
from metering.usage_event import UsageEvent, from_json, to_json

logger = logging.getLogger(__name__)

STREAM = "zerorate:spool"
LEASE_MS = 5_000
ENTRIES_PER_ROUND = 20
BUDGET_SECONDS = 1.0
"""Of the spools' own link: a batch may take longer than a look-up, and must not stand in the way of one."""


class SpoolAway(Exception):
    """Redis did not take the facts, or may not have."""


class Kind(NamedTuple, Generic[Fact]):
    """What a spool holds."""

    words: str
    """What the log calls it."""
    stream: str
    to_json: Callable[[Fact], bytes]
    from_json: Callable[[bytes], Fact]
    """Raises ValueError where the text is none of its kind."""

    @property
    def refused(self) -> str:
        """Return the stream of what cannot be drained."""
        return f"{self.stream}:refused"

    @property
    def lease(self) -> str:
        """Return the key of who drains."""
        return f"{self.stream}:lease"


USAGE_EVENTS: Kind[UsageEvent] = Kind("usage events", STREAM, to_json, from_json)


class Spool(Generic[Fact]):
    """Batches of facts of one kind in Redis: one stream entry per batch, one field per fact."""

    def __init__(self, link: RedisLink, kind: Kind[Fact]) -> None:
        self._link = link
        self._kind = kind
        self._token = secrets.token_hex(8).encode()
        self.last_depth = 0
        """What `depth` last said; whoever drains asks it all the time."""
        self.set_aside = 0
        """Facts that this process moved to the stream of what cannot be drained."""
        self.away = False
        """Whether the last command failed."""

    async def connect(self) -> None:
        """Connect; what cannot be reached is tried again in the background, and ``append`` says so until then."""
        with contextlib.suppress(RedisAway):
            await self._link.connect()

    async def append(self, facts: Sequence[Fact]) -> None:
        """Keep *facts* until they are drained.

        Raises:
            SpoolAway: Redis did not say within a second that it has them.
        """
        fields = {str(fact.event_id).encode(): self._kind.to_json(fact) for fact in facts}
        await self._add(self._kind.stream, fields)

    async def depth(self) -> int:
        """Return how many batches wait.

        Raises:
            SpoolAway: Redis does not answer.
        """
        self.last_depth = int(await self._ask("XLEN", self._kind.stream))
        return self.last_depth

    async def drain(self, write: Write[Fact]) -> int:
        """Write what waits, oldest first, while this process holds the lease; return the number of facts.

        An entry leaves the spool after *write* has returned for it. What *write* raises ends the round.

        Raises:
            SpoolAway: Redis does not answer; what was not removed is drained again later.
        """
        drained, stream = 0, self._kind.stream
        while await self.depth() and await self._hold_lease():
            for entry_id, flat in await self._ask("XRANGE", stream, "-", "+", "COUNT", ENTRIES_PER_ROUND):
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                drained += await self._drain_entry(entry_id, fields, write)
        return drained

    async def _drain_entry(self, entry_id: bytes, fields: Mapping[bytes, bytes], write: Write[Fact]) -> int:
        readable: dict[bytes, Fact] = {}
        refused: dict[bytes, bytes] = {}
        for name, text in fields.items():
            try:
                readable[name] = self._kind.from_json(text)
            except ValueError:
                refused[name] = text
        verdicts = await write(list(readable.values())) if readable else {}
        for name, fact in readable.items():
            if verdicts.get(fact.event_id) is Verdict.REFUSED:
                refused[name] = fields[name]
        if refused:
            await self._set_aside(refused)
        await self._ask("XDEL", self._kind.stream, entry_id)
        return len(readable)

    async def _set_aside(self, refused: Mapping[bytes, bytes]) -> None:
        count, kind = len(refused), self._kind
        logger.error(
            "%d spooled %s cannot be recorded; see the Redis stream %s.", count, kind.words, kind.refused
        )
        await self._add(kind.refused, refused)
        self.set_aside += count

    async def _hold_lease(self) -> bool:
        lease = self._kind.lease
        if await self._ask("SET", lease, self._token, "NX", "PX", LEASE_MS):
            return True
        if await self._ask("GET", lease) != self._token:
            return False
        await self._ask("PEXPIRE", lease, LEASE_MS)
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
