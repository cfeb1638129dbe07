"""An answer on its way in: its head has come, its body is read undecoded and bounded."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp

from cacheproxy.gateway.catalog import Target
from cacheproxy.gateway.upstreams.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from cacheproxy.protocols.request import Header

logger = logging.getLogger(__name__)

PASSED_HEADERS = frozenset(
    (
        b"content-type",
        b"content-language",
        b"inference-header-content-length",
        b"retry-after",
        b"retry-after-ms",
    )
)
"""What of an upstream's headers reaches the client. The rest speaks of the operator's account, or is only ever
true of a miss."""
EVENT_STREAM = b"text/event-stream"
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

    def __init__(self, target: Target, response: aiohttp.ClientResponse, max_bytes: int) -> None:
        self.target = target
        self.status = response.status
        self.headers = [
            (lower, value)
            for name, value in response.raw_headers
            if (lower := name.lower()) in PASSED_HEADERS
        ]
        self.is_stream = any(
            name == b"content-type" and value.lower().startswith(EVENT_STREAM) for name, value in self.headers
        )
        self.whole = False
        """Whether the body was read to its end."""
        self.broke = False
        """Whether the upstream failed before the body's end."""
        self._response = response
        self._max_bytes = max_bytes
        self._received = 0
        self._expect_parts()

    async def read(self) -> UpstreamAnswer:
        """Return the whole answer.

        Raises:
            UpstreamBroken: it is larger than the limit, or ends before its stated length.
            UpstreamTimeout: it stops coming.
        """
        parts = []
        while part := await self._part():
            parts.append(part)
        return UpstreamAnswer(self.status, self.headers, b"".join(parts), self.target)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            UpstreamBroken: it is larger than the limit, or ends before its stated length.
            UpstreamTimeout: it stops coming.
        """
        while part := await self._part():
            yield part

    async def finish(self, seconds: float) -> None:
        """Read to the end of the body if it comes within *seconds*; otherwise the connection is not used again.

        For a body whose meaning is complete: how it ends is of no account.
        """
        self.whole = True
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(seconds):
                while await self._response.content.readany():
                    pass

    def _expect_parts(self) -> None:
        """Let the time between two parts of the body be limited from now on, by aiohttp's own timer."""
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = self.target.idle_timeout_seconds
            connection.protocol.start_timeout()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end: then it serves the next call already."""
        self._response.close()

    async def _part(self) -> bytes:
        """Return what has come of the body since the last part, nothing at its end."""
        content = self._response.content
        try:
            part = b"" if content.at_eof() else await content.readany()
        except (aiohttp.ClientError, OSError) as failure:
            self.broke = True
            raise self._broken(failure) from failure
        self._received += len(part)
        if self._received > self._max_bytes:
            logger.warning(
                "An answer of the upstream %s is larger than %d bytes and was cut off.",
                self.target.upstream,
                self._max_bytes,
            )
            raise UpstreamBroken
        self.whole = not part
        return part

    def _broken(self, failure: Exception) -> UpstreamError:
        upstream, seconds = self.target.upstream, self.target.idle_timeout_seconds
        if isinstance(failure, aiohttp.ServerTimeoutError):
            logger.warning("The upstream %s stopped answering for %g seconds.", upstream, seconds)
            return UpstreamTimeout("idle", seconds)
        logger.warning("The upstream %s broke its answer off: %s", upstream, reason(failure))
        return UpstreamBroken()


def reason(failure: Exception) -> str:
    """Return what to log of *failure*: the system's own words; of aiohttp's only the kind, for they quote answers."""
    return str(failure) if isinstance(failure, OSError) else type(failure).__name__
