"""Which upstream is asked, and who is asked next when it fails.

A call is sent a second time only where nobody can have worked on it: no connection was made, or the upstream
refused it with 429, 503 or 529. A connection that was lost after bytes had left is never such a case, a kept one
neither: the server may have read them. Models with ``retry: any`` say that being worked on twice does no harm.
Once the head of an answer was given out, its call is never repeated.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from cacheproxy.gateway.catalog.catalog import Model, Target
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.upstreams.attempt import BUSY, Attempt
from cacheproxy.gateway.upstreams.breaker import Breaker, State
from cacheproxy.gateway.upstreams.client import Client
from cacheproxy.gateway.upstreams.errors import UpstreamError
from cacheproxy.gateway.upstreams.exchange import Exchange
from cacheproxy.gateway.upstreams.route import Lane, Route, Server
from cacheproxy.protocols.request import UpstreamCall

Compose = Callable[[str], UpstreamCall]

PAUSE_SECONDS = 0.1
"""Before a model's only target is asked a second time."""
MAX_KNOWN = 10_000


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

    def have_room(self, model: Model) -> bool:
        """Return whether every upstream of *model* has half its places free: for what no client waits for."""
        servers = (lane.server for lane in self._route(model).lanes)
        return all(2 * server.under_way < server.max_calls for server in servers)

    def exchange(self, model: Model, compose: Compose, user_agent: str | None) -> "Asking":
        """Return an ``async with`` of the first answer worth having to a call, once its head has come.

        *compose* writes the call for the name that the model has at its target.

        Raises, on entering:
            UpstreamError: as `Client.post`; of the last target that was asked.
            UpstreamUnavailable: every target's breaker is open; nobody was asked.
            Overloaded: as many calls as are allowed are under way at every target.
            UpstreamNotConfigured: no target has its key.
        """
        return Asking(self, model, compose, user_agent)

    async def begin(self, model: Model, compose: Compose, user_agent: str | None) -> tuple[Attempt, Exchange]:
        """Return the attempt that `exchange` is about, and the exchange."""
        route = self._route(model)
        lane = route.choose(self._clock())
        if lane is None:
            raise route.refusal(self._clock())
        tried: list[Lane] = []
        while True:
            tried.append(lane)
            attempt = Attempt(self._client, lane, self._clock, self._metrics)
            try:
                exchange = await attempt.begin(compose(lane.target.upstream_model), user_agent)
            except UpstreamError as failure:
                following = await self._after_failure(route, tried, failure)
                if following is None:
                    raise
            else:
                following = await self._after_answer(route, tried, attempt, exchange.status)
                if following is None:
                    return attempt, exchange
                attempt.end()
            lane = following
            self.repeated += 1

    async def _after_answer(
        self, route: Route, tried: list[Lane], attempt: Attempt, status: int
    ) -> Lane | None:
        """Return whom to ask instead of passing on an answer of this status; None to pass it on."""
        if status in BUSY:
            return self._another(route, tried)
        if status >= 500 and route.model.retry == "any":
            try:
                return self._another(route, tried) or await self._again(route, tried)
            except BaseException as failure:  # cancelled in the pause, while the attempt is under way
                attempt.end(failure)
                raise
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


class Asking:
    """``async with``: what `Upstreams.exchange` found. A class, because a generator's price is felt here."""

    __slots__ = ("_attempt", "_compose", "_model", "_upstreams", "_user_agent")

    def __init__(self, upstreams: Upstreams, model: Model, compose: Compose, user_agent: str | None) -> None:
        self._upstreams = upstreams
        self._model = model
        self._compose = compose
        self._user_agent = user_agent

    async def __aenter__(self) -> Exchange:
        self._attempt, exchange = await self._upstreams.begin(self._model, self._compose, self._user_agent)
        return exchange

    async def __aexit__(
        self, _kind: type[BaseException] | None, failure: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._attempt.end(failure)
