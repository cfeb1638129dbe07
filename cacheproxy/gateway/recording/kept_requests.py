"""What tenants ask who let their content be kept: how often, and the request itself, for warming the cache up.

Counted in the process and written to PostgreSQL now and then, off every call's way. Nothing here is worth waiting for:
what does not fit is forgotten, and so is what PostgreSQL does not take. A tenant who does not let its content be kept
costs a call one attribute test.
"""

import asyncio
import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import msgspec

from cacheproxy.gateway.call import Call
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import AWAY, DatabaseAway, connect, describe
from cacheproxy.gateway.understanding import Ask

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 16
"""A larger request is not kept."""
MAX_WAITING = 2000
MAX_WAITING_BYTES = 1 << 23
"""Between two writings."""
WARM_UP_AGENT = b"zerorate-warm-cache"
"""What the warm-up calls itself, so that it does not count as asking once more."""
_PLAIN = (b"content-type", b"x-zerorate-session")

KEEP = """
INSERT INTO cacheproxy_keptrequest AS known
    (tenant_id, digest, path, model, headers, body, times, first_asked_at, last_asked_at)
SELECT given.tenant_id, given.digest, given.path, given.model, given.headers::jsonb, given.body, given.times,
       now(), now()
FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bigint[])
    AS given (tenant_id, digest, path, model, headers, body, times)
JOIN tenants_tenant ON tenants_tenant.id = given.tenant_id AND tenants_tenant.keep_content
ORDER BY given.tenant_id, given.digest
ON CONFLICT (tenant_id, digest) DO UPDATE SET times = known.times + excluded.times, last_asked_at = now()
"""  # in one order, so that two gateways never wait for each other in a circle
REPEAT = """
UPDATE cacheproxy_keptrequest AS known SET times = known.times + given.times, last_asked_at = now()
FROM (SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS given (tenant_id, digest, times)) AS given
WHERE known.tenant_id = given.tenant_id AND known.digest = given.digest
"""


class Name(NamedTuple):
    """Whose request it is, and the digest by which it is told from others."""

    tenant_id: int
    digest: bytes


class Request(NamedTuple):
    """A request as it can be sent again."""

    path: str
    model: str
    headers: str
    """As a JSON object."""
    body: bytes


class KeptRequests:
    """One process's notes of requests until they are written."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._times: dict[Name, int] = {}
        self._requests: dict[Name, Request] = {}
        self._bytes = 0
        self._away = False

    def note(self, call: Call, ask: Ask) -> None:
        """Count a call of a tenant who lets its content be kept; of a miss, note the request itself."""
        if not ask.may_store or ask.facts.rules.screen is not None or len(ask.body) > MAX_BODY_BYTES:
            return
        if call.headers.get(b"user-agent") == WARM_UP_AGENT:
            return
        headers = {name: call.headers[name] for name in _told(ask) if name in call.headers}
        framed = [call.path.encode(), *(part for header in headers.items() for part in header), ask.body]
        digest = sha256(b"".join([len(part).to_bytes(8) + part for part in framed])).digest()
        name = Name(ask.caller.access.tenant_id, digest)
        if name not in self._times and len(self._times) >= MAX_WAITING:
            return
        self._times[name] = self._times.get(name, 0) + 1
        if call.absence is not None and self._bytes + len(ask.body) <= MAX_WAITING_BYTES:
            text = msgspec.json.encode(
                {key.decode(): value.decode("latin-1") for key, value in headers.items()}
            )
            self._requests[name] = Request(call.path, ask.facts.model.name, text.decode(), ask.body)
            self._bytes += len(ask.body)

    async def write(self) -> None:
        """Write what was noted."""
        if not self._times:
            return
        times, requests = self._times, self._requests
        self._times, self._requests, self._bytes = {}, {}, 0
        try:
            await self._write(times, requests)
        except DatabaseAway as failure:
            if not self._away:
                logger.warning("Requests are not kept for a warm-up, and calls go on: %s", failure)
            self._away = True
        else:
            self._away = False

    async def _write(self, times: Mapping[Name, int], requests: Mapping[Name, Request]) -> None:
        fresh = [(*name, *request, times[name]) for name, request in requests.items()]
        repeated = sorted((*name, count) for name, count in times.items() if name not in requests)
        connection = await connect(self._settings, application_name="zerorate gateway: kept requests")
        try:
            async with asyncio.timeout(self._settings.database_timeout_seconds):
                for statement, rows in ((KEEP, fresh), (REPEAT, repeated)):
                    if rows:
                        await connection.execute(statement, *map(list, zip(*rows, strict=True)))
        except AWAY as failure:
            raise DatabaseAway(describe(failure)) from failure
        finally:
            connection.terminate()


def _told(ask: Ask) -> tuple[bytes, ...]:
    """Return the headers by which an answer's key may differ."""
    return tuple(sorted({*_PLAIN, *ask.dialect.read_headers}))
