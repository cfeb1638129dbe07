"""Which upstream is asked, and who is asked next when it fails.

A call is sent a second time only where nobody can have worked on it: no connection was made, or the upstream
refused it with 429 or 503. A connection that was lost after bytes had left is never such a case, a kept one
neither: the server may have read them. Models with ``retry: any`` say that being worked on twice does no harm.
Once the head of an answer was given out, its call is never repeated.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from cacheproxy.gateway.catalog import Model, Target
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.current import current_call
from cacheproxy.gateway.errors import UpstreamError
from cacheproxy.gateway.metrics import Metrics
from cacheproxy.gateway.upstreams.breaker import Breaker, State
from cacheproxy.gateway.upstreams.client import Client
from cacheproxy.gateway.upstreams.exchange import Exchange
from cacheproxy.gateway.upstreams.retry_after import wait_seconds
from cacheproxy.gateway.upstreams.route import Lane, Route, Server
from cacheproxy.protocols.request import UpstreamCall

if TYPE_CHECKING:
    from cacheproxy.gateway.tracing import UpstreamTrace

logger = logging.getLogger(__name__)

Compose = Callable[[str], UpstreamCall]

BUSY = frozenset({429, 503})
"""Answers that say that the call was not worked on."""
PAUSE_SECONDS = 0.1
"""Before a model's only target is asked a second time."""
MAX_KNOWN = 10_000
SEVERITY: Mapping[State, int] = {"closed": 0, "half_open": 1, "open": 2}


class Upstreams:
    """The model servers behind all models."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics or Metrics()
        self._metrics.read("upstream_breaker_state", self._breaker_states)
        self._clock = clock
        self._client = Client(settings)
        self._servers: dict[tuple[str, str, int, float], Server] = {}
        self._routes: dict[str, Route] = {}
        self.repeated = 0
        """Calls that were sent once more, to another target or the same."""

    async def start(self) -> None:
        """Make the client; connections open as calls need them."""
        await self._client.start()

    async def stop(self) -> None:
        """Close every connection."""
        await self._client.stop()

    def states(self) -> Mapping[str, State]:
        """Return upstream → state of its breaker, of those that were called."""
        now = self._clock()
        return {name: server.breaker.state(now) for (name, *_), server in self._servers.items()}

    def calls_under_way(self) -> Mapping[str, int]:
        """Return upstream → calls under way, of those that were called."""
        return {name: server.under_way for (name, *_), server in self._servers.items()}

    def _breaker_states(self) -> dict[str, int]:
        return {self._metrics.upstream_label(name): SEVERITY[state] for name, state in self.states().items()}

    @contextlib.asynccontextmanager
    async def exchange(
        self, model: Model, compose: Compose, user_agent: str | None
    ) -> AsyncIterator[Exchange]:
        """Post a call to the target that is due and yield the first answer worth having, once its head has come.

        *compose* writes the call for the name that the model has at its target.

        Raises:
            UpstreamError: as `Client.post`; of the last target that was asked.
            UpstreamUnavailable: every target's breaker is open; nobody was asked.
            Overloaded: as many calls as are allowed are under way at every target.
            UpstreamNotConfigured: no target has its key.
        """
        route = self._route(model)
        lane = route.choose(self._clock())
        if lane is None:
            raise route.refusal(self._clock())
        tried: list[Lane] = []
        given = False
        while True:
            tried.append(lane)
            try:
                async with self._attempt(lane, compose, user_agent) as exchange:
                    following = await self._after_answer(route, tried, exchange.status)
                    if following is None:
                        given = True
                        yield exchange
                        return
            except UpstreamError as failure:
                following = None if given else await self._after_failure(route, tried, failure)
                if following is None:
                    raise
            lane = following
            self.repeated += 1

    @contextlib.asynccontextmanager
    async def _attempt(self, lane: Lane, compose: Compose, user_agent: str | None) -> AsyncIterator[Exchange]:
        """Ask one target and let its breaker know how that went."""
        server, breaker, upstream = lane.server, lane.server.breaker, lane.target.upstream
        ticket, started_ns = breaker.begin(), time.perf_counter_ns()
        server.under_way += 1
        trace = _trace(lane.target)
        exchange = None
        failed = False
        try:
            call = compose(lane.target.upstream_model)
            if trace is not None:
                call = call._replace(headers=(*call.headers, *trace.headers))
            async with self._client.post(lane.target, call, user_agent) as exchange:
                if exchange.status < 500:
                    breaker.answered(ticket)
                if exchange.status in BUSY:
                    lane.cool_until = self._clock() + wait_seconds(exchange.headers, time.time())
                yield exchange
        except UpstreamError as failure:
            failed = exchange is None
            self._metrics.upstream_failed(upstream, failure.code)
            raise
        finally:
            server.under_way -= 1
            if exchange is not None and exchange.whole:
                self._metrics.upstream_answered(upstream, (time.perf_counter_ns() - started_ns) // 1000)
            if trace is not None:
                trace.end(exchange.status if exchange is not None else 0)
            if failed or (exchange is not None and (exchange.broke or exchange.status >= 500)):
                breaker.failed(ticket, self._clock())
            elif exchange is not None and exchange.whole:
                breaker.succeeded(ticket)
            else:
                breaker.abandoned(ticket)

    async def _after_answer(self, route: Route, tried: list[Lane], status: int) -> Lane | None:
        """Return whom to ask instead of passing on an answer of this status; None to pass it on."""
        if status in BUSY:
            return self._another(route, tried)
        if status >= 500 and route.model.retry == "any":
            return self._another(route, tried) or await self._again(route, tried)
        return None

    async def _after_failure(self, route: Route, tried: list[Lane], failure: UpstreamError) -> Lane | None:
        """Return whom to ask after *failure*; None to let it be the call's."""
        if failure.untouched or route.model.retry == "any":
            return self._another(route, tried) or await self._again(route, tried)
        return None

    def _another(self, route: Route, tried: list[Lane]) -> Lane | None:
        if len(tried) >= self._settings.max_upstream_attempts:
            return None
        return route.choose(self._clock(), tried)

    async def _again(self, route: Route, tried: list[Lane]) -> Lane | None:
        """Return a model's only target, to be asked a second time after a pause."""
        if not len(route.lanes) == len(tried) == 1:
            return None
        await asyncio.sleep(PAUSE_SECONDS)
        return route.choose(self._clock())

    def _route(self, model: Model) -> Route:
        route = self._routes.get(model.name)
        if route is None or route.model is not model:
            if len(self._routes) >= MAX_KNOWN:
                self._routes.clear()
            lanes = [Lane(target, self._server(target)) for target in model.targets]
            route = self._routes[model.name] = Route(model, lanes)
        return route

    def _server(self, target: Target) -> Server:
        name = target.upstream, target.url, target.breaker_failures, target.breaker_open_seconds
        server = self._servers.get(name)
        if server is None:
            if len(self._servers) >= MAX_KNOWN:
                self._servers.clear()
            breaker = Breaker(target.breaker_failures, target.breaker_open_seconds)
            server = self._servers[name] = Server(breaker, self._settings.max_calls_per_upstream)
        return server


def _trace(target: Target) -> "UpstreamTrace | None":
    """Return the span of a call to *target*, where the call that it is made for has one."""
    call = current_call.get()
    return call.trace.upstream(target) if call is not None and call.trace is not None else None
