"""An answer on its way in: its head has come, its body is read undecoded and bounded."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp

from cacheproxy.gateway.catalog import Target
from cacheproxy.gateway.errors import UpstreamBroken, UpstreamTimeout
from cacheproxy.protocols.request import Header

logger = logging.getLogger(__name__)

PASSED_HEADERS = (
    "content-type",
    "content-language",
    "inference-header-content-length",
    "retry-after",
    "retry-after-ms",
)
"""What of an upstream's headers reaches the client. The rest speaks of the operator's account, or is only ever
true of a miss."""
EVENT_STREAM = "text/event-stream"
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
        self.is_stream = response.content_type == EVENT_STREAM
        self.headers = [
            (name.encode(), value.encode("latin-1", "replace"))
            for name in PASSED_HEADERS
            if (value := response.headers.get(name)) is not None
        ]
        self.whole = False
        """Whether the body was read to its end."""
        self.broke = False
        """Whether the upstream failed before the body's end."""
        self._response = response
        self._max_bytes = max_bytes
        self._expect_parts()

    async def read(self) -> UpstreamAnswer:
        """Return the whole answer.

        Raises:
            UpstreamBroken: it is larger than the limit, or ends before its stated length.
            UpstreamTimeout: it stops coming.
        """
        parts = [part async for part in self.chunks()]
        return UpstreamAnswer(self.status, self.headers, b"".join(parts), self.target)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            UpstreamBroken: it is larger than the limit, or ends before its stated length.
            UpstreamTimeout: it stops coming.
        """
        received = 0
        while chunk := await self._part():
            received += len(chunk)
            if received > self._max_bytes:
                logger.warning(
                    "An answer of the upstream %s is larger than %d bytes and was cut off.",
                    self.target.upstream,
                    self._max_bytes,
                )
                raise UpstreamBroken
            yield chunk
        self.whole = True

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

    async def _part(self) -> bytes:
        try:
            return await self._response.content.readany()
        except aiohttp.ServerTimeoutError as failure:
            self.broke = True
            seconds = self.target.idle_timeout_seconds
            logger.warning("The upstream %s stopped answering for %g seconds.", self.target.upstream, seconds)
            raise UpstreamTimeout("idle", seconds) from failure
        except (aiohttp.ClientError, OSError) as failure:
            self.broke = True
            logger.warning("The upstream %s broke its answer off: %s", self.target.upstream, reason(failure))
            raise UpstreamBroken from failure


def reason(failure: Exception) -> str:
    """Return what to log of *failure*: the system's own words; of aiohttp's only the kind, for they quote answers."""
    return str(failure) if isinstance(failure, OSError) else type(failure).__name__
