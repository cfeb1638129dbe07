"""An answer on its way in: its head has come, its body is read bounded."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import NamedTuple

from cacheproxy.gateway.catalog.catalog import Target
from cacheproxy.gateway.upstreams.coding import BadCoding, Inflater
from cacheproxy.gateway.upstreams.connection import Connection, Failure, Late, TooLarge
from cacheproxy.gateway.upstreams.dialling import Origin
from cacheproxy.gateway.upstreams.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from cacheproxy.gateway.upstreams.pool import Pool
from cacheproxy.protocols.request import Header

logger = logging.getLogger(__name__)

EVENT_STREAM = b"text/event-stream"
PLAIN = (b"", b"identity")
END_SECONDS = 0.02
"""How long the connection's end is waited for after a stream's own, so that the connection can be used again."""


class UpstreamAnswer(NamedTuple):
    """A whole answer, of any status."""

    status: int
    headers: list[Header]
    body: bytes
    target: Target
    """Who gave it."""

    @property
    def ok(self) -> bool:
        """Whether the upstream says that it did what was asked."""
        return 200 <= self.status < 300


class Exchange:
    """An answer whose head has come."""

    def __init__(
        self, target: Target, connection: Connection, pool: Pool, origin: Origin, max_bytes: int
    ) -> None:
        self.target = target
        self.status = connection.status
        self.headers = connection.headers
        self.is_stream = _is_stream(self.headers)
        self.whole = False
        """Whether the body was read to its end."""
        self.broke = False
        """Whether the upstream failed before the body's end."""
        self._connection: Connection | None = connection
        self._pool = pool
        self._origin = origin
        self._max_bytes = max_bytes
        self._received_bytes = 0
        self._inflater = Inflater(connection.coding) if connection.coding not in PLAIN else None

    async def read(self) -> UpstreamAnswer:
        """Return the whole answer.

        Raises:
            UpstreamBroken: it is larger than the limit, or ends before its stated length.
            UpstreamTimeout: it stops coming.
        """
        try:
            body = self._plain(await self._open().rest())
            self._end()
        except (Failure, BadCoding) as failure:
            raise self._problem(failure) from failure
        return UpstreamAnswer(self.status, self.headers, body, self.target)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            UpstreamBroken: it is larger than the limit, or ends before its stated length.
            UpstreamTimeout: it stops coming.
        """
        try:
            while part := await self._open().part():
                if plain := self._plain(part):
                    yield plain
            self._end()
        except (Failure, BadCoding) as failure:
            raise self._problem(failure) from failure

    async def finish(self, seconds: float) -> None:
        """Read to the end of the body if it comes within *seconds*; otherwise the connection is not used again.

        For a body whose meaning is complete: how it ends is of no account.
        """
        self.whole = True
        connection = self._open()
        if not connection.whole:
            with contextlib.suppress(TimeoutError, Failure):
                async with asyncio.timeout(seconds):
                    await connection.rest()

    def close(self) -> None:
        """Let the connection serve the next call if the body has come to its end; otherwise close it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(self._origin, connection)

    def _open(self) -> Connection:
        """Return the connection; once closed, it is another call's."""
        assert self._connection is not None, "the exchange is closed"
        return self._connection

    def _plain(self, part: bytes) -> bytes:
        """Return *part* decompressed, where the body is compressed.

        Raises:
            BadCoding: it is not as it says.
            TooLarge: it becomes larger than the limit.
        """
        if self._inflater is None or not part:
            return part
        plain = self._inflater.feed(part, self._max_bytes - self._received_bytes + 1)
        self._received_bytes += len(plain)
        if self._received_bytes > self._max_bytes:
            raise TooLarge
        return plain

    def _end(self) -> None:
        if self._inflater is not None:
            self._inflater.end()
        self.whole = True

    def _problem(self, failure: Failure | BadCoding) -> UpstreamError:
        self._open().abort()
        upstream, target = self.target.upstream, self.target
        if isinstance(failure, Late) and failure.limit == "total":
            seconds = target.timeout_seconds
            logger.warning("The upstream %s did not end its answer within %g seconds.", upstream, seconds)
            return UpstreamTimeout("total", seconds)
        if isinstance(failure, TooLarge):
            logger.warning(
                "An answer of the upstream %s is larger than %d bytes and was cut off.",
                upstream,
                self._max_bytes,
            )
            return UpstreamBroken()
        self.broke = True
        if isinstance(failure, Late):
            seconds = target.idle_timeout_seconds
            logger.warning("The upstream %s stopped answering for %g seconds.", upstream, seconds)
            return UpstreamTimeout("idle", seconds)
        logger.warning("The upstream %s broke its answer off: %s", upstream, failure)
        return UpstreamBroken()


def _is_stream(headers: list[Header]) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return value.lower().startswith(EVENT_STREAM)
    return False
