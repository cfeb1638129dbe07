"""One call to one model server: one HTTP client per gateway, connections kept alive and shared.

What goes out is the dialect's body under headers of its and our making. No header of the client's is forwarded
except its user agent and what the dialect names: one that could change the answer must be in the cache key, and
our customers' keys are nobody else's business. A redirect is not followed.
"""

import asyncio
import logging

from cacheproxy.gateway.catalog.catalog import Target
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.upstreams.address import Address
from cacheproxy.gateway.upstreams.connection import Connection, Failure, Garbled, Late
from cacheproxy.gateway.upstreams.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamLost,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cacheproxy.gateway.upstreams.exchange import Exchange
from cacheproxy.gateway.upstreams.pool import Pool
from cacheproxy.protocols.request import UpstreamCall

logger = logging.getLogger(__name__)


class Client:
    """The HTTP client that all calls share."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._pool: Pool | None = None

    async def start(self) -> None:
        """Make the client; connections open as calls need them."""
        self._pool = Pool(max_body_bytes=self._settings.max_answer_bytes)

    async def stop(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.stop()

    async def post(self, address: Address, call: UpstreamCall, user_agent: str | None) -> Exchange:
        """Post *call* and return what answers, once its head has come; `Exchange.close` is the caller's to call.

        Raises:
            UpstreamUnreachable: no connection was made.
            UpstreamLost: it was lost before the head; whether the call was worked on, nobody knows.
            UpstreamTimeout: no head in time.
            UpstreamBroken: neither an answer nor an error, as a redirect; or not HTTP.
        """
        assert self._pool is not None, "start() comes first"
        pool, target = self._pool, address.target
        head = _head(address, call, user_agent)
        give_up_at = pool.now() + target.timeout_seconds
        connection = pool.idle(address.origin) or await _dial(pool, address, give_up_at)
        connection.send(
            head,
            call.body,
            first_byte_seconds=target.first_byte_timeout_seconds,
            idle_seconds=target.idle_timeout_seconds,
            give_up_at=give_up_at,
            bodyless=call.method == "HEAD",
        )
        try:
            await connection.head()
        except Failure as failure:
            problem = _problem(target, failure)
            logger.warning("The upstream %s failed: %s (%s)", target.upstream, problem.message, failure)
            raise problem from failure
        except BaseException:  # cancelled: what is under way on it is nobody's any more
            connection.abort()
            raise
        if connection.status // 100 not in {2, 4, 5}:
            connection.abort()
            logger.warning(
                "The upstream %s answers with status %d; redirects are not followed.",
                target.upstream,
                connection.status,
            )
            raise UpstreamBroken
        return Exchange(target, connection, pool, address.origin, self._settings.max_answer_bytes)


def _head(address: Address, call: UpstreamCall, user_agent: str | None) -> bytes:
    try:
        return b"%b%d\r\n\r\n" % (address.head(call, user_agent), len(call.body))
    except ValueError as problem:
        logger.error("A call to the upstream %s was not sent: %s", address.target.upstream, problem)  # noqa: TRY400
        raise UpstreamBroken from problem


async def _dial(pool: Pool, address: Address, give_up_at: float) -> Connection:
    """Return a new connection, whose time limit includes everything from its name to TLS.

    Raises:
        UpstreamUnreachable: there is none to be had.
        UpstreamTimeout: the call's whole time is over.
    """
    target = address.target
    connected_by = pool.now() + target.connect_timeout_seconds
    limit = asyncio.timeout_at(min(connected_by, give_up_at))
    try:
        async with limit:
            return await pool.dial(address.origin)
    except (OSError, ValueError) as failure:
        problem: UpstreamError = UpstreamUnreachable(
            target.connect_timeout_seconds if limit.expired() else None
        )
        if limit.expired() and give_up_at < connected_by:
            problem = UpstreamTimeout("total", target.timeout_seconds)
        logger.warning("The upstream %s failed: %s (%s)", target.upstream, problem.message, failure)
        raise problem from failure


def _problem(target: Target, failure: Failure) -> UpstreamError:
    """Return what *failure*, before the head of an answer, means for the call."""
    match failure:
        case Late(limit="total"):
            return UpstreamTimeout("total", target.timeout_seconds)
        case Late():
            return UpstreamTimeout("first_byte", target.first_byte_timeout_seconds)
        case Garbled():
            return UpstreamBroken()
        case _:
            return UpstreamLost()
