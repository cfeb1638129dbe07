"""The data plane as an ASGI application: paths to flows, errors to answers, parts put together."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cacheproxy.cache.codec import AnswerCodec
from cacheproxy.cache.memory import MemoryCache
from cacheproxy.cache.redis import RedisCache
from cacheproxy.cache.sightings import Sightings
from cacheproxy.cache.tiers import Tiers
from cacheproxy.gateway.admission import Door
from cacheproxy.gateway.at_rest import at_rest_of
from cacheproxy.gateway.call import Call, ClientGone, Header, Receive, Send, read_headers
from cacheproxy.gateway.catalog.catalog import Catalog
from cacheproxy.gateway.catalog.feed import Feed
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.errors import GatewayError, InternalError, MethodNotAllowed, UnknownPath
from cacheproxy.gateway.flight.at_once import AtOnce
from cacheproxy.gateway.flight.background import Background
from cacheproxy.gateway.flight.coalescing import Coalescing
from cacheproxy.gateway.flight.delivery import Delivery
from cacheproxy.gateway.flight.flight import Flight
from cacheproxy.gateway.flight.misses import Misses
from cacheproxy.gateway.flight.refreshing import Refreshing
from cacheproxy.gateway.flight.rendezvous import Rendezvous
from cacheproxy.gateway.flight.rewordings import Rewordings
from cacheproxy.gateway.flight.shadow_checks import ShadowChecks
from cacheproxy.gateway.http.exchange import ANSWER, Exchange
from cacheproxy.gateway.idempotency import Idempotency
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.lookups import Lookups, route_of_lookup
from cacheproxy.gateway.recording.kept_requests import KeptRequests
from cacheproxy.gateway.recording.ledger import Fact
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.recording.spool import BUDGET_SECONDS as SPOOL_BUDGET_SECONDS
from cacheproxy.gateway.recording.spool import USAGE_EVENTS, Kind, Spool
from cacheproxy.gateway.recording.wrong_hits import WRONG_HITS, WrongHits
from cacheproxy.gateway.semantics import Open, Semantics, open_shipped
from cacheproxy.gateway.telemetry.current import current_call
from cacheproxy.gateway.telemetry.exposition import Exposition
from cacheproxy.gateway.telemetry.health import Health
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.telemetry.observer import Observer
from cacheproxy.gateway.telemetry.statistics import Statistics
from cacheproxy.gateway.telemetry.tally import REASONS, TIERS, Tally
from cacheproxy.gateway.upstreams.breaker import CODES
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols.registry import find_route
from cacheproxy.redis_breaker import NEVER
from cacheproxy.redis_link import RedisLink, open_link

if TYPE_CHECKING:
    from cacheproxy.gateway.telemetry.tracing import Tracing

logger = logging.getLogger(__name__)

_NONE: Mapping[str, Any] = {}
CALL = "zerorate.call"
"""Where a request's scope has the call that `at_once` made of it."""

BREAK_OFF_SECONDS = 3.0
"""For the calls that a shutdown breaks off to record what was streamed of them."""


class Gateway:
    """One gateway process: ``startup()``, then calls, then ``shutdown()``."""

    def __init__(self, settings: GatewaySettings, *, open_tier: Open = open_shipped) -> None:
        self._settings = settings
        self._tracing = _tracing(settings)
        self._catalog = Catalog()
        self._feed = Feed(settings, self._catalog)
        self._door = Door(
            self._catalog,
            self._feed,
            key_pepper=settings.key_pepper,
            trusted_proxies=settings.trusted_proxies,
            enable_cache=settings.enable_cache,
        )
        self.metrics = Metrics(max_names=settings.max_metric_names)
        self.exposition = Exposition(self.metrics, settings.metrics_dir)
        self._tally = Tally(max_names=settings.max_metric_names)
        kept_requests = KeptRequests(settings)
        self._statistics = Statistics(settings, self._tally, kept_requests)
        self._observer = Observer(self.metrics, self._tally, kept_requests, log_calls=settings.log_calls)
        self._redis = self._link(settings.redis_budget_seconds, settings.redis_late_allowed)
        self._spool_redis = self._link(SPOOL_BUDGET_SECONDS)
        self._at_rest = at_rest_of(settings)
        self._tiers = self._build_tiers()
        self._catalog.epochs.on_key = self._tiers.discard
        self._spool = self._spool_of(USAGE_EVENTS)
        self._recorder = Recorder(settings, self._spool, self.metrics)
        self._upstreams = Upstreams(settings, metrics=self.metrics)
        self._semantics = Semantics(settings, self._catalog, self._upstreams, open_tier=open_tier)
        self._background = Background(self._upstreams, self.metrics, at_once=settings.max_background_calls)
        self._wrong_hits = WrongHits(settings, self._spool_of(WRONG_HITS))
        checks = ShadowChecks(self._background, self._wrong_hits, self.metrics)
        self._rewordings = Rewordings(settings, self._tiers, self._semantics, checks, self.metrics)
        self.health = Health(self._catalog, self._recorder, self._spool, self._semantics)
        self._lookups = Lookups(self._door, self._upstreams, lambda: self.health.report().ready)
        self._limits = Limits(settings, self._redis)
        self._read_gauges()
        self._coalescing = Coalescing(self._tiers, self._rendezvous(), follow_seconds=settings.follow_seconds)
        self._idempotency_redis = self._link(settings.idempotency_budget_seconds)
        self._idempotency = Idempotency(settings, self._idempotency_redis, self._at_rest)
        delivery = Delivery(self._recorder, self._limits, self.metrics)
        refreshing = Refreshing(
            self._tiers, self._coalescing, self._background, self._rewordings, self.metrics
        )
        self._flight = Flight(
            settings,
            self._door,
            self._tiers,
            self._coalescing,
            Misses(
                self._upstreams,
                self._tiers,
                self._recorder,
                self._coalescing,
                self._limits,
                Sightings(self._redis),
                refreshing,
                self._rewordings,
            ),
            delivery,
            self._idempotency,
            refreshing,
        )
        self._at_once = AtOnce(self._recorder, delivery, refuse=self._refusal, over=self._over)

    async def startup(self) -> None:
        """Connect to everything. What cannot be reached is tried again in the background; calls get 503 until then."""
        await self.exposition.start()
        await self._upstreams.start()
        if self._tiers.redis is not None:
            await self._tiers.redis.connect()
        await self._coalescing.start()
        await self._limits.start()
        if self._spool is not None:
            await self._spool.connect()
        await self._idempotency.connect()
        await self._recorder.start()
        await self._wrong_hits.start()
        await self._statistics.start()
        await self._feed.start()
        await self._semantics.settle()

    async def shutdown(self) -> None:
        """Let calls under way end, within the settings' bound, write what waits, and close every connection."""
        self.health.draining = True
        self._background.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.shutdown_grace_seconds):
                await self._drain()
        self._flight.break_off()
        self._background.break_off()
        try:
            async with asyncio.timeout(BREAK_OFF_SECONDS):
                await self._drain()
        except TimeoutError:
            logger.error("Some calls did not end in time and were given up.")  # noqa: TRY400 - no news in the traceback
        await self._semantics.stop()
        await self._wrong_hits.stop()
        await self._limits.stop()
        await self._coalescing.stop()
        await self._recorder.stop()
        await self._statistics.stop()
        await self._feed.stop()
        await self._upstreams.stop()
        for link in (self._redis, self._spool_redis, self._idempotency_redis):
            if link is not None:
                await link.close()
        await self.exposition.stop()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)

    async def _drain(self) -> None:
        await self._flight.drain()
        await self._rewordings.drain()
        await self._background.drain()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; never raises, whatever the request or the upstream does."""
        path: str = scope["path"]
        route = find_route(path)
        headers = read_headers(scope["headers"])
        extensions = scope.get("extensions", _NONE)
        call = extensions.get(CALL) or Call(
            path,
            route or route_of_lookup(path, headers),
            headers,
            receive,
            send,
            client=scope.get("client"),
            answer=extensions.get(ANSWER),
        )
        current_call.set(call)
        if self._tracing is not None and route is not None:
            self._tracing.begin(call)
        try:
            if route is not None:
                _expect(scope["method"], "POST")
                await self._flight.serve(call)
            elif self._lookups.knows(path):
                _expect(scope["method"], "GET")
                await self._lookups.serve(call)
            else:
                raise UnknownPath(path)
        except GatewayError as error:
            await self._refuse(call, error)
        except ClientGone:
            call.gone = True
        except Exception:  # a bug of ours: the client gets a proper answer, the log the trace
            logger.exception("The call %s failed inside the gateway.", call.event_id)
            await self._refuse(call, InternalError())
        if route is not None:
            self._over(call)

    def at_once(self, exchange: Exchange) -> bool:
        """Begin to answer a whole request, if that takes no more than memory or one work; never raises.

        False: the call is yet to be answered, and what was understood of it is not understood again.
        """
        scope = exchange.scope
        route = find_route(scope["path"])
        if route is None or scope["method"] != "POST" or self._tracing is not None:
            return False
        extensions = scope["extensions"]
        headers, client, answer = read_headers(scope["headers"]), scope["client"], extensions[ANSWER]
        call = Call(
            scope["path"], route, headers, exchange.receive, exchange.send, client=client, answer=answer
        )
        try:
            if not self._begin_at_once(call, exchange):
                extensions[CALL] = call
                return False
        except Exception:  # noqa: BLE001 - refused, or a bug: the usual way meets it again, and says so
            return False
        exchange.forget()
        return True

    def _begin_at_once(self, call: Call, exchange: Exchange) -> bool:
        found, ask = self._flight.look(call, exchange.body), call.ask
        if ask is None:
            return False
        if found is not None:
            self._at_once.hit(ask, found, exchange.give)
            return True
        context = current_call.set(call)  # for the work's task
        work = self._flight.lead(ask)
        current_call.reset(context)
        if work is None:
            return False
        self._at_once.lead(ask, work, exchange.give)
        return True

    async def _refuse(self, call: Call, error: GatewayError) -> None:
        status, headers, body = self._refusal(call, error)
        if not call.started:  # there is no way to take back what was sent: the server cuts it off
            await call.answer(status, headers, body)

    def _refusal(self, call: Call, error: GatewayError) -> tuple[int, list[Header], bytes]:
        """Count *error*, and return it as an answer in the protocol's shape."""
        self.metrics.call_refused(error.code)
        call.ending, call.event = "refused", None
        return _refusal(call, error)

    def _over(self, call: Call) -> None:
        self._observer.over(call)
        call.ask = None  # which refers to the call: let none wait for the garbage collector

    def _read_gauges(self) -> None:
        read, memory, redis, spool = self.metrics.read, self._tiers.memory, self._tiers.redis, self._spool
        upstreams = self._upstreams
        read(
            "upstream_breaker_state",
            lambda: {name: CODES[state] for name, state in upstreams.states().items()},
        )
        read("upstream_calls_under_way", upstreams.calls_under_way)
        read("upstream_calls_repeated", lambda: upstreams.repeated)
        read("cache_hits", lambda: self._tally.calls(TIERS))
        read("cache_misses", lambda: self._tally.calls(REASONS))
        read("cache_given_bytes", self._tally.bytes_given)
        read("cache_given_age_seconds", self._tally.age_seconds)
        read("memory_cache_bytes", lambda: memory.used_bytes)
        read("memory_cache_entries", lambda: len(memory))
        read("memory_cache_departures", lambda: memory.departures)
        read("memory_cache_misses", lambda: memory.misses)
        read("limit_fallbacks", lambda: self._limits.arbiter.decided_alone)
        read("limit_settlements_left", lambda: self._limits.arbiter.left_to_sweep)
        self._semantics.tell(self.metrics)
        self._wrong_hits.tell(self.metrics)
        if redis is not None:
            read("redis_failures", lambda: redis.failures)
            read("redis_damaged_answers", lambda: redis.codec.damaged)
            read("redis_foreign_answers", lambda: redis.codec.foreign)
            read("redis_breaker_state", lambda: redis.breaker[0])
            read("redis_breaker_openings", lambda: redis.breaker[1])
        if spool is not None:
            read("spool_batches", lambda: spool.last_depth)

    def _build_tiers(self) -> Tiers:
        settings = self._settings
        memory = MemoryCache(
            settings.memory_cache_bytes,
            max_entries=settings.memory_cache_entries,
            max_answer_bytes=settings.max_cached_answer_bytes,
            policy=settings.memory_cache_policy,
        )
        codec = AnswerCodec(self._at_rest, max_answer_bytes=settings.max_cached_answer_bytes)
        return Tiers(memory, RedisCache(self._redis, codec) if self._redis is not None else None)

    def _rendezvous(self) -> Rendezvous | None:
        if self._redis is None or self._tiers.redis is None or self._settings.redis_url is None:
            return None
        return Rendezvous(self._redis, self._settings.redis_url, self._tiers.redis.codec)

    def _spool_of(self, kind: Kind[Fact]) -> Spool[Fact] | None:
        return Spool(self._spool_redis, kind) if self._spool_redis is not None else None

    def _link(self, budget_seconds: float, late_allowed: int = NEVER) -> RedisLink | None:
        url = self._settings.redis_url
        return open_link(url, budget_seconds=budget_seconds, late_allowed=late_allowed) if url else None


def _tracing(settings: GatewaySettings) -> "Tracing | None":
    if not settings.traces:
        return None
    from cacheproxy.gateway.telemetry.tracing import Tracing  # its packages are an extra

    return Tracing()


def _expect(method: str, allowed: str) -> None:
    if method != allowed:
        raise MethodNotAllowed(method, allowed)


def _refusal(call: Call, error: GatewayError) -> tuple[int, list[Header], bytes]:
    body = call.route.dialect.error(
        status=error.status, code=error.code, message=error.message, param=error.param
    )
    headers: list[Header] = [
        (b"content-type", b"application/json"),
        (b"cache-status", b"zerorate; detail=" + error.code.encode()),
        *error.headers,
    ]
    if not error.retryable:
        headers.append((b"x-should-retry", b"false"))
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return error.status, headers, body
