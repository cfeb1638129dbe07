"""Calls to the model servers: one HTTP client per gateway, connections kept alive and shared.

What goes out is the dialect's body under headers of our own making. No header of the client's is forwarded
except its user agent: one that could change the answer would have to be in the cache key, and our customers'
keys are nobody else's business. What comes back is read undecoded and bounded; a redirect is not followed.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp

from cacheproxy.gateway.catalog import Model
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.errors import (
    UpstreamBroken,
    UpstreamNotConfigured,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cacheproxy.protocols.request import UpstreamCall

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 4.0
"""Below uvicorn's 5: the server must not be the one to close an idle connection just as a call leaves on it."""
PASSED_HEADERS = ("content-type", "content-language", "retry-after", "retry-after-ms")
"""What of an upstream's headers reaches the client. The rest speaks of the operator's account, or is only ever
true of a miss."""
EVENT_STREAM = "text/event-stream"
END_SECONDS = 0.02
"""How long the connection's end is waited for after a stream's own, so that the connection can be used again."""


class UpstreamAnswer(NamedTuple):
    """A whole answer, of any status."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the upstream says that it did what was asked."""
        return 200 <= self.status < 300


class Upstream:
    """The HTTP client that all calls share."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the client; connections open as calls need them."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._settings.max_upstream_calls, keepalive_timeout=KEEP_ALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def exchange(
        self, model: Model, call: UpstreamCall, user_agent: str | None
    ) -> AsyncIterator["Exchange"]:
        """Post *call* to the model's server and yield what answers, headers first.

        The model's ``timeout_seconds`` holds for the whole exchange, streams included.

        Raises:
            UpstreamNotConfigured: the model's secret is not set.
            UpstreamUnreachable: no connection, or it was lost before the headers.
            UpstreamTimeout: no complete answer in time; also raised into the body of the ``async with``.
            UpstreamBroken: a redirect, or not HTTP.
        """
        assert self._session is not None, "start() comes first"
        headers = _request_headers(model, user_agent)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_seconds)
        try:
            async with (
                asyncio.timeout(model.timeout_seconds),
                self._session.post(
                    model.url + call.path,
                    data=call.body,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                ) as response,
            ):
                if 300 <= response.status < 400:
                    logger.warning(
                        "The upstream %s answers with a redirect, which is not followed.", model.upstream
                    )
                    raise UpstreamBroken
                yield Exchange(response, self._settings.max_answer_bytes)
        except TimeoutError as failure:
            raise _timed_out(model, failure) from failure
        except (aiohttp.ClientConnectionError, OSError) as failure:
            logger.warning("The upstream %s cannot be reached: %s", model.upstream, failure)
            raise UpstreamUnreachable from failure
        except aiohttp.ClientError as failure:
            logger.warning("The upstream %s does not speak HTTP as it should: %s", model.upstream, failure)
            raise UpstreamBroken from failure


class Exchange:
    """An answer whose headers have come."""

    def __init__(self, response: aiohttp.ClientResponse, max_bytes: int) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self.status = response.status
        self.is_stream = response.content_type == EVENT_STREAM
        self.headers = [
            (name.encode(), value.encode("latin-1", "replace"))
            for name in PASSED_HEADERS
            if (value := response.headers.get(name)) is not None
        ]

    async def read(self) -> UpstreamAnswer:
        """Return the whole answer.

        Raises:
            UpstreamBroken: it is larger than the limit, or ends before its stated length.
        """
        parts = [part async for part in self.chunks()]
        return UpstreamAnswer(self.status, self.headers, b"".join(parts))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            UpstreamBroken: it is larger than the limit, or ends before its stated length.
        """
        received = 0
        try:
            async for chunk in self._response.content.iter_any():
                received += len(chunk)
                if received > self._max_bytes:
                    logger.warning(
                        "An upstream's answer is larger than %d bytes and was cut off.", self._max_bytes
                    )
                    raise UpstreamBroken
                yield chunk
        except (aiohttp.ClientError, OSError) as failure:
            raise UpstreamBroken from failure

    async def finish(self, seconds: float) -> None:
        """Read to the end of the body if it comes within *seconds*; otherwise the connection is not used again."""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(seconds):
                while await self._response.content.readany():
                    pass


def read_secret(name: str) -> str | None:
    """Return the environment's secret *name*, or what the file named by ``NAME_FILE`` holds; None where neither is."""
    if value := os.environ.get(name):
        return value
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).read_text(encoding="utf-8").strip()
    return None


def _request_headers(model: Model, user_agent: str | None) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Accept-Encoding": "identity",
    }
    if user_agent is not None:
        headers["User-Agent"] = user_agent
    if model.api_key_env:
        try:
            secret = read_secret(model.api_key_env)
        except OSError:
            secret = None
        if secret is None:
            logger.error(
                "The upstream %s needs its key in the environment variable %s, which is not set.",
                model.upstream,
                model.api_key_env,
            )
            raise UpstreamNotConfigured
        headers["Authorization"] = f"Bearer {secret}"
    return headers


def _timed_out(model: Model, failure: TimeoutError) -> UpstreamTimeout | UpstreamUnreachable:
    if isinstance(failure, aiohttp.ConnectionTimeoutError):
        logger.warning("The upstream %s did not accept a connection in time.", model.upstream)
        return UpstreamUnreachable()
    logger.warning("The upstream %s did not answer within %g seconds.", model.upstream, model.timeout_seconds)
    return UpstreamTimeout(model.timeout_seconds)
