"""Semantic hits that were proven wrong, on their way to PostgreSQL, where billing gives back what they were charged.

While PostgreSQL is away they wait, in this process: so many, and not beyond its end. Each is written once, however
often it is proven.
"""

import asyncio
import logging
from collections import deque
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import AWAY, DatabaseAway, connect, describe
from cacheproxy.gateway.tasks import end

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000

ADD = """
INSERT INTO metering_wronghit (tenant_id, event_id, occurred_at, model, source_event, similarity, score, reason,
                               detected_at)
SELECT given.* FROM unnest($1::bigint[], $2::uuid[], $3::timestamptz[], $4::text[], $5::uuid[], $6::float8[],
                           $7::float8[], $8::text[], $9::timestamptz[])
    AS given (tenant_id, event_id, occurred_at, model, source_event, similarity, score, reason, detected_at)
JOIN tenants_tenant ON tenants_tenant.id = given.tenant_id
ORDER BY given.tenant_id, given.event_id
ON CONFLICT (tenant_id, event_id) DO NOTHING
"""


class WrongHit(NamedTuple):
    """A hit and the proof, in the order of what `ADD` takes."""

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


class WrongHits:
    """One process's queue of them."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._waiting: deque[WrongHit] = deque()
        self._wake = asyncio.Event()
        self._away = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what waits, if PostgreSQL takes it now."""
        if self._task is not None:
            await end(self._task)
        await self._write()
        if self._waiting:
            logger.error("%d semantic hits that were proven wrong are lost: nothing credits them.", len(self))

    def add(self, hit: WrongHit) -> None:
        """Have *hit* written soon."""
        if len(self._waiting) >= MAX_WAITING:
            logger.error("The hit %s was proven wrong and nothing credits it: too many wait.", hit.event_id)
            return
        self._waiting.append(hit)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await self._write()
            if self._waiting:
                await asyncio.sleep(self._settings.retry_seconds)
            else:
                self._wake.clear()

    async def _write(self) -> None:
        hits = list(self._waiting)
        if not hits:
            return
        try:
            await self._add(hits)
        except DatabaseAway as failure:
            if not self._away:
                logger.warning("Semantic hits that were proven wrong wait to be written: %s", failure)
            self._away = True
            return
        self._away = False
        for _ in hits:
            self._waiting.popleft()

    async def _add(self, hits: list[WrongHit]) -> None:
        connection = await connect(self._settings, application_name="zerorate gateway: wrong hits")
        try:
            async with asyncio.timeout(self._settings.database_timeout_seconds):
                await connection.execute(ADD, *map(list, zip(*hits, strict=True)))
        except AWAY as failure:
            raise DatabaseAway(describe(failure)) from failure
        finally:
            connection.terminate()
