"""Semantic hits that were proven wrong, on their way to PostgreSQL, where billing gives back what they were charged.

A proof goes to a spool in Redis first, so that it outlives this process, and from there any gateway drains it into
PostgreSQL, at once where all is well. While Redis is away it goes straight to PostgreSQL; while both are, it waits in
this process, and ends with it: that is the one way to lose it. Each is written once, however often it is proven or
drained. It may come before its hit's event, which billing waits for.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from uuid import UUID

import msgspec

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import DatabaseAway, describe
from cacheproxy.gateway.recording.lane import Lane
from cacheproxy.gateway.recording.ledger import AWAY, Verdict, Write, write_carefully
from cacheproxy.gateway.recording.spool import Kind, Spool, SpoolAway
from cacheproxy.gateway.tasks import end
from cacheproxy.gateway.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000
BATCH_HITS = 500

ADD = """
INSERT INTO metering_wronghit (tenant_id, event_id, occurred_at, model, source_event, similarity, score, reason,
                               detected_at)
SELECT given.* FROM json_to_recordset($1::json)
    AS given (tenant_id bigint, event_id uuid, occurred_at timestamptz, model text, source_event uuid,
              similarity float8, score float8, reason text, detected_at timestamptz)
JOIN tenants_tenant ON tenants_tenant.id = given.tenant_id
ORDER BY given.tenant_id, given.event_id
ON CONFLICT (tenant_id, event_id) DO NOTHING
"""  # in one order, so that two gateways never wait for each other in a circle


class WrongHit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hit and the proof."""

    tenant_id: int
    event_id: UUID
    """The hit's own."""
    occurred_at: datetime
    model: str
    source_event: UUID
    """The miss that had paid for the answer."""
    similarity: float
    score: float
    """What the verifier thought of the two questions."""
    reason: str
    """In words that may stand on an invoice."""
    detected_at: datetime


WRONG_HITS = Kind(
    "wrong hits", "zerorate:wrong_hits", msgspec.json.encode, msgspec.json.Decoder(WrongHit).decode
)


class WrongHits:
    """One process's part in this."""

    def __init__(self, settings: GatewaySettings, spool: Spool[WrongHit] | None) -> None:
        self._settings = settings
        self._spool = spool
        self._waiting: deque[WrongHit] = deque()
        self._wake = asyncio.Event()
        self._where = ""
        """They wait while PostgreSQL is away; empty: nowhere."""
        self._lost = 0
        self._task: asyncio.Task[None] | None = None

    def tell(self, metrics: Metrics) -> None:
        """Have *metrics* know what waits, and what was lost."""
        spool = self._spool
        metrics.read("semantic_wrong_hits_waiting", lambda: len(self._waiting))
        metrics.read(
            "semantic_wrong_hits_lost", lambda: self._lost + (spool.set_aside if spool is not None else 0)
        )
        if spool is not None:
            metrics.read("semantic_wrong_hits_spooled", lambda: spool.last_depth)

    async def start(self) -> None:
        """Begin to write, and to drain what any gateway has left."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what waits, if Redis or PostgreSQL takes it now."""
        if self._task is not None:
            await end(self._task)
        await self._settle()
        if self._waiting:
            self._lose(list(self._waiting), "neither Redis nor PostgreSQL takes them")

    def add(self, hit: WrongHit) -> None:
        """Have *hit* written soon."""
        if len(self._waiting) >= MAX_WAITING:
            self._lose([hit], "too many wait")
            return
        self._waiting.append(hit)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.retry_seconds):
                    await self._wake.wait()
            self._wake.clear()
            await self._settle()

    async def _settle(self) -> None:
        """Bring what waits to safety, and what is in the spool into PostgreSQL, as far as that goes now."""
        try:
            await self._secure()
            await self._drain()
        except DatabaseAway as failure:
            self._say_where("in this process, and end with it" if self._waiting else "in Redis", failure)
        except Exception:  # a bug of ours must not end the task: the spool would fill for ever
            logger.exception("Semantic hits that were proven wrong could not be written; trying again.")
        else:
            self._where = ""

    async def _secure(self) -> None:
        """Bring what waits to where it outlives this process.

        Raises:
            DatabaseAway: there is no such place now.
        """
        while hits := list(islice(self._waiting, BATCH_HITS)):
            if not await self._is_spooled(hits):
                async with self._writing() as write:
                    verdicts = await write(hits)
                if verdicts:
                    self._lose([hit for hit in hits if hit.event_id in verdicts], "PostgreSQL refuses them")
            for _ in hits:
                self._waiting.popleft()

    async def _is_spooled(self, hits: Sequence[WrongHit]) -> bool:
        if self._spool is None:
            return False
        try:
            await self._spool.append(hits)
        except SpoolAway:  # or it has them after all: then they are drained to where they are already
            return False
        return True

    async def _drain(self) -> None:
        """Write what the spool has.

        Raises:
            DatabaseAway: it stays there.
        """
        if self._spool is None:
            return
        with contextlib.suppress(SpoolAway):
            if await self._spool.depth():
                async with self._writing() as write:
                    await self._spool.drain(write)

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[Write[WrongHit]]:
        """Yield what writes hits, over one connection.

        Raises:
            DatabaseAway: there is none, or it was lost.
        """
        seconds = self._settings.database_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                lane = await Lane.open(self._settings, ADD, application_name="zerorate gateway: wrong hits")

            async def add(hits: Sequence[WrongHit]) -> Mapping[UUID, Verdict]:
                await lane.run(msgspec.json.encode(hits))
                return {}

            async def write(hits: Sequence[WrongHit]) -> Mapping[UUID, Verdict]:
                async with asyncio.timeout(seconds):
                    return await write_carefully(add, hits)

            try:
                yield write
            finally:
                lane.close()
        except AWAY as failure:
            raise DatabaseAway(describe(failure)) from failure

    def _say_where(self, where: str, failure: DatabaseAway) -> None:
        if where != self._where:
            logger.error(
                "PostgreSQL is away (%s); semantic hits that were proven wrong wait %s.", failure, where
            )
        self._where = where

    def _lose(self, hits: Sequence[WrongHit], reason: str) -> None:
        self._lost += len(hits)
        logger.error(
            "%d semantic hits were proven wrong and nothing credits them, for %s: %s",
            len(hits),
            reason,
            msgspec.json.encode(hits).decode(),
        )
