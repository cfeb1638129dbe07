"""One call to one model server: one HTTP client per gateway, connections kept alive and shared.

What goes out is the dialect's body under headers of its and our making. No header of the client's is forwarded
except its user agent and what the dialect names: one that could change the answer must be in the cache key, and
our customers' keys are nobody else's business. A redirect is not followed.

The four time limits cost one timer for the whole call and one that aiohttp moves on as bytes come.
"""

import io
import logging

import aiohttp

from cacheproxy.gateway.catalog import Target
from cacheproxy.gateway.config import MIB, GatewaySettings
from cacheproxy.gateway.upstreams.errors import (
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
DEFAULTS = {
    "accept": "application/json, text/event-stream",
    "accept-encoding": "identity",
    "user-agent": "zerorate",
}
ANTHROPIC_VERSION = "2023-06-01"


class Address:
    """A target, and what is the same for all calls to it."""

    __slots__ = ("_defaults", "_key", "limits", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        first_byte = target.first_byte_timeout_seconds
        self.limits = aiohttp.ClientTimeout(
            total=None,
            connect=target.connect_timeout_seconds,
            sock_read=first_byte if first_byte < target.timeout_seconds else None,
        )
        is_anthropic = target.protocol == "anthropic"
        self._defaults = DEFAULTS | ({"anthropic-version": ANTHROPIC_VERSION} if is_anthropic else {})
        self._key: dict[str, str] = {}
        if target.secret is not None:
            self._key = {"x-api-key": target.secret} if is_anthropic else _bearer(target.secret)

    def headers(self, call: UpstreamCall, user_agent: str | None) -> dict[str, str]:
        """Return the headers of one call: the dialect's over the defaults, the operator's key over all."""
        headers = self._defaults.copy()
        if user_agent is not None:
            headers["user-agent"] = user_agent
        for name, value in call.headers:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        headers.update(self._key)
        return headers


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
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def post(self, address: Address, call: UpstreamCall, user_agent: str | None) -> Exchange:
        """Post *call* and return what answers, once its head has come; `Exchange.close` is the caller's to call.

        Raises:
            UpstreamUnreachable: no connection was made.
            UpstreamLost: it was lost before the head; whether the call was worked on, nobody knows.
            UpstreamTimeout: no head in time.
            UpstreamBroken: neither an answer nor an error, as a redirect; or not HTTP.
        """
        target = address.target
        assert self._session is not None, "start() comes first"
        try:
            response = await self._session.request(
                call.method,
                target.url + call.path,
                data=(call.body or None)
                if len(call.body) < MIB
                else io.BytesIO(call.body),  # large ones part by part
                headers=address.headers(call, user_agent),
                timeout=address.limits,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            problem = _problem(target, failure)
            logger.warning(
                "The upstream %s failed: %s (%s)", target.upstream, problem.message, reason(failure)
            )
            raise problem from failure
        if response.status // 100 not in {2, 4, 5}:
            response.close()
            logger.warning(
                "The upstream %s answers with status %d; redirects are not followed.",
                target.upstream,
                response.status,
            )
            raise UpstreamBroken
        return Exchange(target, response, self._settings.max_answer_bytes)


def _bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


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
