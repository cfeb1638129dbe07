"""Keeps the catalog fresh: loads it, listens for changes, loads again when it cannot know what it missed.

One connection per gateway process listens, reads and looks up unknown keys. A notification on
``zerorate_access`` carries a tenant id and reloads that tenant's keys; one on ``zerorate_catalog`` reloads
models and prices; bursts of both are taken together. One on ``zerorate_invalidations`` carries the invalidation and
is heeded at once, or says that one of many keys is to be read. After a lost connection, and every
``reload_seconds``, all of it is read again; invalidations that were not heard of, with every heartbeat. While
PostgreSQL is away the last copy serves.
"""

import asyncio
import logging
import time
from typing import Any

import msgspec

from cacheproxy.gateway.catalog.catalog import Access, Catalog, read_invalidation
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import AWAY, DatabaseAway, connect, describe
from cacheproxy.gateway.tasks import end

logger = logging.getLogger(__name__)
_decode = msgspec.json.Decoder().decode

BURST_SECONDS = 0.02
LOAD_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0
MAX_RETRY_SECONDS = 5.0
UNKNOWN_KEY_SECONDS = 5.0
MAX_UNKNOWN_KEYS = 10_000
MAX_LOOKUPS = 32

_ACCESSES = (
    "SELECT access.*, (SELECT jsonb_agg(pool) FROM gateway_memberships AS member"
    " WHERE member.tenant_id = access.tenant_id)::text AS pools FROM gateway_access AS access"
)
_TENANT = f"{_ACCESSES} WHERE tenant_id = $1"
_KEY = f"{_ACCESSES} WHERE key_digest = $1"
_MODELS = "SELECT * FROM gateway_catalog"
_PLANS = "SELECT * FROM gateway_price_book"
_INVALIDATIONS = (
    "SELECT max(epoch) AS epoch, tenant_id, model, version, session, tag, key, keys FROM gateway_invalidations"
    " WHERE epoch > $1 GROUP BY tenant_id, model, version, session, tag, key, keys ORDER BY 1"
)


class Feed:
    """The one task that writes to the catalog."""

    def __init__(self, settings: GatewaySettings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stale_tenants: set[int] = set()
        self._stale_catalog = False
        self._unread = False
        self._epochs_read = 0
        self._unknown: dict[bytes, float] = {}
        self._lookups = 0
        self._away = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to load and to listen, and wait for the first attempt's end, good or bad."""
        first_attempt = asyncio.Event()
        self._task = asyncio.create_task(self._run(first_attempt))
        await first_attempt.wait()

    async def stop(self) -> None:
        """Stop listening and close the connection."""
        if self._task is not None:
            await end(self._task)
        await self._let_go()

    async def look_up(self, key_digest: bytes) -> Access | None:
        """Ask the database for a key that the catalog does not know (one made this instant, usually).

        A key that is not there either is remembered for a few seconds, and only so many look-ups wait at once:
        guessing keys does not load the database.

        Raises:
            DatabaseAway: the database cannot say.
        """
        now = time.monotonic()
        if self._unknown.get(key_digest, 0.0) > now:
            return None
        if self._lookups >= MAX_LOOKUPS:
            raise DatabaseAway("too many look-ups of unknown keys")
        self._lookups += 1
        timeout = self._settings.database_timeout_seconds
        try:
            self._catalog.add_accesses(await self._fetch(_KEY, key_digest, timeout_seconds=timeout))
        finally:
            self._lookups -= 1
        access = self._catalog.access(key_digest)
        if access is None:
            if len(self._unknown) >= MAX_UNKNOWN_KEYS:
                self._unknown.clear()
            self._unknown[key_digest] = now + UNKNOWN_KEY_SECONDS
        return access

    async def _run(self, first_attempt: asyncio.Event) -> None:
        delay = self._settings.retry_seconds
        while True:
            try:
                await self._open()
                self._came_back()
                first_attempt.set()
                await self._follow()
            except DatabaseAway as failure:
                self._went_away(failure)
            except Exception:  # a bug of ours, or a row that cannot be read: the last copy serves on
                logger.exception("The catalog could not be loaded; trying again.")
            first_attempt.set()
            await self._let_go()
            await asyncio.sleep(delay)
            delay = (
                self._settings.retry_seconds if self._catalog.loaded else min(2 * delay, MAX_RETRY_SECONDS)
            )

    def _went_away(self, failure: DatabaseAway) -> None:
        if not self._away:
            logger.error(
                "PostgreSQL is away (%s). Check DATABASE_URL and the server; trying again until it is back.",
                failure,
            )
        self._away = True

    def _came_back(self) -> None:
        if self._away:
            logger.warning("PostgreSQL is back; the catalog is loaded.")
        self._away = False

    async def _open(self) -> None:
        connection = await connect(self._settings, application_name="zerorate gateway: catalog")
        connection.add_termination_listener(lambda _connection: self._wake.set())
        self._connection = connection
        await connection.add_listener("zerorate_access", self._access_changed)
        await connection.add_listener("zerorate_catalog", self._catalog_changed)
        await connection.add_listener("zerorate_invalidations", self._invalidated)
        await self._reload_all()
        self._catalog.loaded = True

    async def _follow(self) -> None:
        """Take changes as they come, until the connection is lost."""
        reload_at = time.monotonic() + self._settings.reload_seconds
        while not self._connection.is_closed():
            try:
                async with asyncio.timeout(min(HEARTBEAT_SECONDS, self._settings.reload_seconds)):
                    await self._wake.wait()
                await asyncio.sleep(BURST_SECONDS)
            except TimeoutError:
                await self._read_invalidations()
            self._wake.clear()
            if self._unread:
                self._unread = False
                await self._read_invalidations()
            if time.monotonic() >= reload_at:
                await self._reload_all()
                reload_at = time.monotonic() + self._settings.reload_seconds
            await self._reload_stale()
        raise DatabaseAway("the connection was lost")

    async def _reload_all(self) -> None:
        self._stale_tenants.clear()
        self._unknown.clear()
        await self._read_invalidations()
        self._catalog.replace_accesses(await self._fetch(_ACCESSES))
        await self._reload_catalog()

    async def _read_invalidations(self) -> None:
        """Heed what was committed since it was read last: epochs are committed in their order."""
        for row in await self._fetch(_INVALIDATIONS, self._epochs_read):
            self._catalog.epochs.take(read_invalidation(row))
            self._epochs_read = row["epoch"]

    async def _reload_stale(self) -> None:
        while self._stale_tenants:
            tenant_id = self._stale_tenants.pop()
            self._unknown.clear()
            self._catalog.replace_tenant(tenant_id, await self._fetch(_TENANT, tenant_id))
        if self._stale_catalog:
            await self._reload_catalog()

    async def _reload_catalog(self) -> None:
        self._stale_catalog = False
        models = await self._fetch(_MODELS)
        self._catalog.replace_models(models, await self._fetch(_PLANS))

    async def _fetch(self, query: str, *values: Any, timeout_seconds: float = LOAD_SECONDS) -> Any:
        async with self._turn:
            connection = self._connection
            if connection is None:
                raise DatabaseAway("not connected")
            try:
                return await connection.fetch(query, *values, timeout=timeout_seconds)
            except AWAY as failure:
                connection.terminate()
                raise DatabaseAway(describe(failure)) from failure

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _access_changed(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._stale_tenants.add(int(str(payload)))
        self._wake.set()

    def _invalidated(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        heard = _decode(str(payload))
        if "read" in heard:  # it names more keys than a notification holds
            self._unread = True
            self._wake.set()
        else:
            self._catalog.epochs.take(read_invalidation(heard))

    def _catalog_changed(self, _connection: Any, _pid: int, _channel: str, _payload: object) -> None:
        self._stale_catalog = True
        self._wake.set()
