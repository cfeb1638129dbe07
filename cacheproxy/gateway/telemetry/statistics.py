"""Takes what was counted of the cache to PostgreSQL, every half minute and at the end, off every call's way.

What PostgreSQL does not take is offered again with the next lot. A gateway that is killed loses what it counted since
the last, and one whose connection breaks during a commit may count a lot twice: it explains, and bills nothing.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import AWAY, DatabaseAway, connect, describe
from cacheproxy.gateway.recording.kept_requests import KeptRequests
from cacheproxy.gateway.tasks import end
from cacheproxy.gateway.telemetry.tally import Counts, Key, Tally, add

logger = logging.getLogger(__name__)

HOUR_SECONDS = 3600
MAX_WAITING = 100_000
"""Rows that PostgreSQL has yet to take; more are given up."""

ADD = """
INSERT INTO cacheproxy_cachestatistic AS known (hour, tenant_id, model, result, calls, size_bytes, age_ms)
SELECT given.* FROM unnest($1::timestamptz[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                           $7::bigint[]) AS given (hour, tenant_id, model, result, calls, size_bytes, age_ms)
JOIN tenants_tenant ON tenants_tenant.id = given.tenant_id
ORDER BY given.hour, given.tenant_id, given.model, given.result
ON CONFLICT (hour, tenant_id, model, result) DO UPDATE SET
    calls = known.calls + excluded.calls, size_bytes = known.size_bytes + excluded.size_bytes,
    age_ms = known.age_ms + excluded.age_ms
"""  # in one order, so that two gateways never wait for each other in a circle


class Statistics:
    """The way of one process's tally to the table."""

    def __init__(self, settings: GatewaySettings, tally: Tally, kept_requests: KeptRequests) -> None:
        self._settings = settings
        self._tally = tally
        self._kept_requests = kept_requests
        self._waiting: dict[tuple[datetime, Key], Counts] = {}
        self._hour = _hour(time.time())
        self._away = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write now and then."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what was counted last."""
        if self._task is not None:
            await end(self._task)
            await self.write()

    async def write(self) -> None:
        """Write what was counted since the last time, as of the hour that began before; and the requests kept."""
        await self._kept_requests.write()
        self._collect(self._tally.take())
        self._hour = _hour(time.time())
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        try:
            await self._add(waiting)
        except DatabaseAway as failure:
            if not self._away:
                logger.warning("The cache's statistics are not written and wait: %s", failure)
            self._away = True
            self._waiting = waiting
        else:
            self._away = False

    async def _run(self) -> None:
        while True:
            to_the_hour = HOUR_SECONDS - time.time() % HOUR_SECONDS
            await asyncio.sleep(min(self._settings.statistics_seconds, to_the_hour))
            await self.write()

    def _collect(self, taken: Mapping[Key, Counts]) -> None:
        if len(self._waiting) + len(taken) > MAX_WAITING:
            logger.warning("Half an hour or more of the cache's statistics was given up.")
            self._waiting.clear()
        for key, counts in taken.items():
            add(self._waiting.setdefault((self._hour, key), [0, 0, 0]), counts)

    async def _add(self, waiting: Mapping[tuple[datetime, Key], Counts]) -> None:
        rows = [(hour, *key, *counts) for (hour, key), counts in waiting.items()]
        connection = await connect(self._settings, application_name="zerorate gateway: statistics")
        try:
            async with asyncio.timeout(self._settings.database_timeout_seconds):
                await connection.execute(ADD, *map(list, zip(*rows, strict=True)))
        except AWAY as failure:
            raise DatabaseAway(describe(failure)) from failure
        finally:
            connection.terminate()


def _hour(now: float) -> datetime:
    return datetime.fromtimestamp(now // HOUR_SECONDS * HOUR_SECONDS, UTC)
