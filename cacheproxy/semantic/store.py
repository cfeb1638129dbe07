"""Where questions are found by their meaning: vectors in PostgreSQL, by pgvector.

What is searched is one *context*: all that must be the same for an answer to be shared, scope, model and the rest of
the conversation included, as one digest. Most contexts have few entries; there all of them are compared, which is
exact. A context that turns out larger than that is searched by the HNSW index of its partition instead, and taken
for large for a while.

The planner is told what to do by the connection's settings: its statistics know nothing of a context made this
minute. Nothing here is worth waiting for: searches have a deadline, entries that cannot be written are forgotten.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import numpy as np
from numpy.typing import NDArray

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.database import AWAY, describe
from cacheproxy.gateway.upstreams.breaker import Breaker
from cacheproxy.semantic.errors import StoreAway
from cacheproxy.semantic.room import from_halfvec, to_halfvec

Vector = NDArray[np.float32]

EXACT_ENTRIES = 2000
"""Of one context, which are compared one by one: a millisecond."""
LARGE_SECONDS = 60.0
MAX_LARGE = 10_000
FAILURES, PAUSE_SECONDS = 5, 1.0
"""So many in a row, and nothing is asked for so long."""

_SESSION = {
    "application_name": "zerorate gateway: semantic",
    "synchronous_commit": "off",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "hnsw.ef_search": "80",
    "hnsw.iterative_scan": "relaxed_order",
}
EXACT = """
SELECT answer_key, question, region, cosine, entries FROM (
    SELECT answer_key, question, region, cosine, count(*) OVER () AS entries FROM (
        SELECT answer_key, question, region, -(embedding <#> $2) AS cosine FROM cacheproxy_semanticentry
        WHERE context = $1 AND expires_at > $3 LIMIT $5
    ) AS compared
) AS counted ORDER BY cosine DESC LIMIT $4
"""
NEAR = """
SELECT answer_key, question, region, -(embedding <#> $2) AS cosine FROM cacheproxy_semanticentry
WHERE context = $1 AND expires_at > $3 ORDER BY embedding <#> $2 LIMIT $4
"""
_PUT = """
INSERT INTO cacheproxy_semanticentry (context, answer_key, tenant_id, scope, model, version, region, created_at,
                                      expires_at, question, embedding)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (context, answer_key) DO UPDATE
SET created_at = excluded.created_at, expires_at = excluded.expires_at, question = excluded.question
"""
_FORGET = "DELETE FROM cacheproxy_semanticentry WHERE context = $1 AND answer_key = $2"


class Entry(NamedTuple):
    """A question whose answer is kept elsewhere, under ``answer_key``. In the order of the table's columns."""

    context: bytes
    """Stands for all that an answer depends on but the question; of at least 16 bytes that nobody can guess."""
    answer_key: bytes
    tenant_id: int
    scope: bytes
    """Among whose calls it is shared, so that a session's entries can be forgotten."""
    model: str
    version: str
    region: int
    created_at: datetime
    expires_at: datetime
    question: bytes
    """As it is to be compared word by word (`kept.py`)."""
    vector: Vector


class Candidate(NamedTuple):
    """An entry that is near."""

    answer_key: bytes
    question: bytes
    region: int
    cosine: float


class Store:
    """This process's few connections to the entries."""

    def __init__(
        self, settings: GatewaySettings, *, connections: int = 4, exact_entries: int = EXACT_ENTRIES
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._exact_entries = exact_entries
        self._pool: Any = None
        self._breaker = Breaker(FAILURES, PAUSE_SECONDS)
        self._large: dict[bytes, float] = {}

    async def start(self) -> None:
        """Make the pool; connections open as searches need them."""
        session = dict(_SESSION)
        if self._settings.database_role is not None:
            session["role"] = self._settings.database_role
        self._pool = await asyncpg.create_pool(
            self._settings.database_url,
            min_size=0,
            max_size=self._connections,
            server_settings=session,
            init=_prepare,
            reset=_leave,
            timeout=self._settings.database_timeout_seconds,
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.terminate()

    async def search(
        self, context: bytes, vector: Vector, *, now: datetime, limit: int, seconds: float
    ) -> list[Candidate]:
        """Return the *limit* entries of *context* that are nearest to *vector* and not expired, nearest first.

        Raises:
            StoreAway: they do not come within *seconds*.
        """
        async with self._connection(seconds) as connection:
            if self._large.get(context, 0.0) < time.monotonic():
                rows = await connection.fetch(EXACT, context, vector, now, limit, self._exact_entries + 1)
                if not rows or rows[0]["entries"] <= self._exact_entries:
                    return [_candidate(row) for row in rows]
                self._remember_large(context)
            rows = await connection.fetch(NEAR, context, vector, now, limit)
        return sorted(map(_candidate, rows), key=lambda candidate: -candidate.cosine)

    async def put(self, entries: Sequence[Entry], *, seconds: float) -> None:
        """Keep *entries*; one that is there already is renewed: its time, and the key that it is sealed with.

        Raises:
            StoreAway: they are kept or not, nobody knows.
        """
        in_one_order = sorted(entries)  # so that two gateways' batches never wait for each other in a circle
        async with self._connection(seconds) as connection:
            await connection.executemany(_PUT, in_one_order)

    async def forget(self, context: bytes, answer_key: bytes, *, seconds: float) -> None:
        """Take an entry out, as one whose answer is gone.

        Raises:
            StoreAway: it is still there, or not.
        """
        async with self._connection(seconds) as connection:
            await connection.execute(_FORGET, context, answer_key)

    def _remember_large(self, context: bytes) -> None:
        if len(self._large) >= MAX_LARGE:
            self._large.clear()
        self._large[context] = time.monotonic() + LARGE_SECONDS

    @contextlib.asynccontextmanager
    async def _connection(self, seconds: float) -> AsyncIterator[Any]:
        """Lend a connection for so long.

        Raises:
            StoreAway: there is none, what was asked failed, or the time is over.
        """
        assert self._pool is not None, "start() comes first"
        if not self._breaker.admits(time.monotonic()):
            raise StoreAway("The semantic entries are left alone for a moment after failures.")
        ticket = self._breaker.begin()
        try:
            async with asyncio.timeout(seconds):
                connection = await self._pool.acquire()
                try:
                    yield connection
                except asyncio.CancelledError:  # an answer may still come on it, for nobody
                    connection.terminate()
                    raise
                finally:
                    await self._pool.release(connection)
        except AWAY as failure:
            self._breaker.failed(ticket, time.monotonic())
            raise StoreAway(f"The semantic entries are away: {describe(failure)}") from failure
        except BaseException:
            self._breaker.abandoned(ticket)
            raise
        self._breaker.succeeded(ticket)


def _candidate(row: Any) -> Candidate:
    return Candidate(row["answer_key"], row["question"], row["region"], row["cosine"])


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "halfvec", schema="public", encoder=to_halfvec, decoder=from_halfvec, format="binary"
    )


async def _leave(_connection: Any) -> None:
    """Leave a connection as it is between two searches: nothing was set on it that must be undone."""
