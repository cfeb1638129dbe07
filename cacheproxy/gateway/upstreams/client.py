"""One call to one model server: one HTTP client per gateway, connections kept alive and shared.

What goes out is the dialect's body under headers of its and our making. No header of the client's is forwarded
except its user agent and what the dialect names: one that could change the answer must be in the cache key, and
our customers' keys are nobody else's business. A redirect is not followed.

The four time limits cost one timer for the whole call and one that aiohttp moves on as bytes come.
"""

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncIterator

import aiohttp

from cacheproxy.gateway.catalog import Target
from cacheproxy.gateway.config import MIB, GatewaySettings
from cacheproxy.gateway.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamLost,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cacheproxy.gateway.upstreams.exchange import Exchange, reason
from cacheproxy.protocols.request import UpstreamCall

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 4.0
"""Below uvicorn's 5: the server must not be the one to close an idle connection just as a call leaves on it."""
DEFAULTS = {"accept": "application/json, text/event-stream", "accept-encoding": "identity"}
ANTHROPIC_VERSION = "2023-06-01"


class Client:
    """The HTTP client that all calls share."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the client; connections open as calls need them."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def post(
        self, target: Target, call: UpstreamCall, user_agent: str | None
    ) -> AsyncIterator[Exchange]:
        """Post *call* to *target* and yield what answers, once its head has come.

        The target's ``timeout_seconds`` holds until the end of the ``async with``, streams included.

        Raises:
            UpstreamUnreachable: no connection was made.
            UpstreamLost: it was lost before the head; whether the call was worked on, nobody knows.
            UpstreamTimeout: no head, or no end, in time; the latter is raised into the body of the ``async with``.
            UpstreamBroken: a redirect, or not HTTP.
        """
        response = None
        try:
            async with asyncio.timeout(target.timeout_seconds) as patience:
                response = await self._head(target, call, user_agent)
                yield Exchange(target, response, self._settings.max_answer_bytes)
        except TimeoutError as failure:
            if not patience.expired():
                raise
            logger.warning(
                "The upstream %s did not end its answer within %g seconds.",
                target.upstream,
                target.timeout_seconds,
            )
            raise UpstreamTimeout("total", target.timeout_seconds) from failure
        finally:
            if response is not None:
                response.close()  # of no effect on a connection whose answer was read to its end

    async def _head(
        self, target: Target, call: UpstreamCall, user_agent: str | None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "start() comes first"
        try:
            response = await self._session.post(
                target.url + call.path,
                data=call.body if len(call.body) < MIB else io.BytesIO(call.body),  # large ones part by part
                headers=_headers(target, call, user_agent),
                timeout=_limits(target),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            problem = _problem(target, failure)
            logger.warning(
                "The upstream %s failed: %s (%s)", target.upstream, problem.message, reason(failure)
            )
            raise problem from failure
        if 300 <= response.status < 400:
            response.close()
            logger.warning("The upstream %s answers with a redirect, which is not followed.", target.upstream)
            raise UpstreamBroken
        return response


def _headers(target: Target, call: UpstreamCall, user_agent: str | None) -> dict[str, str]:
    """Return the headers of one call: the dialect's over the defaults, the operator's key over all."""
    headers = dict(DEFAULTS)
    if user_agent is not None:
        headers["user-agent"] = user_agent
    if target.protocol == "anthropic":
        headers["anthropic-version"] = ANTHROPIC_VERSION
    for name, value in call.headers:
        headers[name.decode("latin-1")] = value.decode("latin-1")
    if target.secret is not None:
        if target.protocol == "anthropic":
            headers["x-api-key"] = target.secret
        else:
            headers["authorization"] = f"Bearer {target.secret}"
    return headers


def _limits(target: Target) -> aiohttp.ClientTimeout:
    first_byte = target.first_byte_timeout_seconds
    return aiohttp.ClientTimeout(
        total=None,
        connect=target.connect_timeout_seconds,
        sock_read=first_byte if first_byte < target.timeout_seconds else None,
    )


def _problem(target: Target, failure: Exception) -> UpstreamError:
    """Return what *failure*, of aiohttp before the head of an answer, means for the call."""
    match failure:
        case aiohttp.ConnectionTimeoutError():
            return UpstreamUnreachable(target.connect_timeout_seconds)
        case aiohttp.ClientConnectorError():
            return UpstreamUnreachable()
        case aiohttp.ServerTimeoutError():
            return UpstreamTimeout("first_byte", target.first_byte_timeout_seconds)
        case aiohttp.ClientConnectionError() | OSError():
            return UpstreamLost()
        case _:
            return UpstreamBroken()
