"""One call to one target, from before its first byte to after its last: in time, counted, judged."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cacheproxy.gateway.catalog.catalog import Target
from cacheproxy.gateway.telemetry.current import current_call
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.upstreams.client import Client
from cacheproxy.gateway.upstreams.errors import UpstreamError
from cacheproxy.gateway.upstreams.exchange import Exchange
from cacheproxy.gateway.upstreams.retry_after import wait_seconds
from cacheproxy.gateway.upstreams.route import Lane
from cacheproxy.protocols.request import UpstreamCall

if TYPE_CHECKING:
    from cacheproxy.gateway.telemetry.tracing import UpstreamTrace

logger = logging.getLogger(__name__)

BUSY = frozenset({429, 503, 529})
"""Answers that say that the call was not worked on; the last is Anthropic's word for an overload."""


class Attempt:
    """``async with``: the exchange, once the head of the answer has come.

    The target's ``timeout_seconds`` holds until the end, streams included. The breaker counts what the upstream
    did, not what the caller made of it: no head, a body that breaks off or stops, a status of 500 or more.
    """

    __slots__ = (
        "_breaker",
        "_client",
        "_clock",
        "_exchange",
        "_lane",
        "_metrics",
        "_started_ns",
        "_ticket",
        "_trace",
    )

    def __init__(self, client: Client, lane: Lane, clock: Callable[[], float], metrics: Metrics) -> None:
        self._client = client
        self._metrics = metrics
        self._lane = lane
        self._clock = clock
        self._breaker = lane.server.breaker
        self._exchange: Exchange | None = None

    async def begin(self, call: UpstreamCall, user_agent: str | None) -> Exchange:
        """Send *call* and return what answers; `end` is the caller's to call, unless this raises.

        Raises:
            UpstreamError: as `Client.post`.
        """
        lane = self._lane
        self._ticket, self._started_ns = self._breaker.begin(), time.perf_counter_ns()
        self._trace = _trace(lane.target)
        if self._trace is not None:
            call = call._replace(headers=(*call.headers, *self._trace.headers))
        lane.server.under_way += 1
        try:
            exchange = self._exchange = await self._client.post(lane.address, call, user_agent)
        except BaseException as failure:
            self.end(failure)
            raise
        if exchange.status < 500:
            self._breaker.answered(self._ticket)
        if exchange.status in BUSY:
            lane.cool_until = self._clock() + wait_seconds(exchange.headers, time.time())
        return exchange

    def end(self, failure: BaseException | None = None) -> None:
        """End what `begin` began; *failure* is what is being raised at this moment."""
        self._lane.server.under_way -= 1
        if self._exchange is not None:
            self._exchange.close()
        self._judge(failure)
        self._tell(failure)

    def _tell(self, failure: BaseException | None) -> None:
        exchange, upstream = self._exchange, self._lane.target.upstream
        if exchange is not None and exchange.whole:
            elapsed_us = (time.perf_counter_ns() - self._started_ns) // 1000
            self._metrics.upstream_answered(upstream, elapsed_us)
        if isinstance(failure, UpstreamError):
            self._metrics.upstream_failed(upstream, failure.code)
        if self._trace is not None:
            self._trace.end(exchange.status if exchange is not None else 0)

    def _judge(self, failure: BaseException | None) -> None:
        exchange, breaker = self._exchange, self._breaker
        broke = isinstance(failure, UpstreamError) if exchange is None else exchange.broke
        if broke or (exchange is not None and exchange.status >= 500):
            breaker.failed(self._ticket, self._clock())
        elif exchange is not None and exchange.whole:
            breaker.succeeded(self._ticket)
        else:
            breaker.abandoned(self._ticket)


def _trace(target: Target) -> "UpstreamTrace | None":
    """Return the span of a call to *target*, where the call that it is made for has one."""
    call = current_call.get()
    return call.trace.upstream(target) if call is not None and call.trace is not None else None
