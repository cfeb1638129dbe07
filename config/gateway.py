"""The data plane as a server runs it, on its own: ``uvicorn config.gateway:application``. Loads no Django."""

import gc
from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from typing import Any, cast, get_args

from cacheproxy.cache.answer import MAX_ANSWER_BYTES
from cacheproxy.cache.at_rest import COMPRESS_FROM_BYTES, COMPRESSION_LEVEL
from cacheproxy.cache.eviction import PolicyName
from cacheproxy.cache.memory import MAX_ENTRIES
from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.http.exchange import Exchange
from cacheproxy.gateway.telemetry.exposition import CONTENT_TYPE
from config import env
from config.logging import configure
from config.sealing import encryption_keys

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

METERED = ("/v1/", "/v2/")
COLLECT_AFTER = (20_000, 20, 100)
"""Of the garbage collector. Calls leave it nothing, and a look at all that is cached takes tens of milliseconds."""


def gateway_settings() -> GatewaySettings:
    """Return the gateway's settings from the environment.

    Raises:
        MissingSetting: ``DATABASE_URL`` or a secret is missing, or a setting is not what it may be.
    """
    database_url = env.text("DATABASE_URL")
    if not database_url:
        raise env.MissingSetting("DATABASE_URL is not set: set it, or start everything with `manage.py up`.")
    return GatewaySettings(
        database_url=database_url,
        database_role=env.text("DATABASE_ROLE", env.DEFAULT_ROLE) or None,
        redis_url=env.text("REDIS_URL") or None,
        key_pepper=env.secret("KEY_PEPPER"),
        idempotency_keep_seconds=env.integer("IDEMPOTENCY_KEEP_SECONDS", 86_400),
        log_calls=env.text("LOG_CALLS") == "1",
        traces=bool(env.text("OTEL_EXPORTER_OTLP_ENDPOINT")),
        metrics_dir=env.text("METRICS_DIR") or None,
        statistics_seconds=max(1, env.integer("CACHE_STATISTICS_SECONDS", 30)),
        trusted_proxies=tuple(env.items("TRUSTED_PROXIES")),
        assumed_output_tokens=env.integer("ASSUMED_OUTPUT_TOKENS", env.DEFAULT_ASSUMED_OUTPUT_TOKENS),
        limit_lease_seconds=env.integer("LIMIT_LEASE_SECONDS", env.DEFAULT_LIMIT_LEASE_SECONDS),
        max_upstream_calls=env.integer("MAX_UPSTREAM_CALLS", 512),
        max_calls_per_upstream=env.integer("MAX_CALLS_PER_UPSTREAM", 256),
        max_background_calls=env.integer("MAX_BACKGROUND_CALLS", 16),
        max_upstream_attempts=env.integer("MAX_UPSTREAM_ATTEMPTS", 3),
        max_body_bytes=env.integer("MAX_BODY_BYTES", env.DEFAULT_MAX_BODY_BYTES),
        enable_cache=env.choice("ENABLE_CACHE", ("1", "0"), "1") == "1",
        memory_cache_bytes=env.integer("MEMORY_CACHE_BYTES", env.DEFAULT_MEMORY_CACHE_BYTES),
        memory_cache_entries=env.integer("MEMORY_CACHE_ENTRIES", MAX_ENTRIES),
        memory_cache_policy=cast(
            "PolicyName", env.choice("MEMORY_CACHE_POLICY", get_args(PolicyName), "w-tinylfu")
        ),
        max_cached_answer_bytes=env.integer("MAX_CACHED_ANSWER_BYTES", MAX_ANSWER_BYTES),
        cache_compress_from_bytes=env.integer("CACHE_COMPRESS_FROM_BYTES", COMPRESS_FROM_BYTES),
        cache_compression_level=env.integer("CACHE_COMPRESSION_LEVEL", COMPRESSION_LEVEL),
        cache_encryption_keys=encryption_keys(),
        redis_budget_seconds=env.integer("REDIS_BUDGET_MS", 20) / 1000,
        redis_late_allowed=env.integer("REDIS_LATE_ALLOWED", 5),
        models_dir=str(env.home() / "models"),
        encoder_threads=env.integer("ENCODER_THREADS", 2),
        semantic_budget_seconds=env.integer("SEMANTIC_BUDGET_MS", 25) / 1000,
    )


class Server:
    """One process's application: the gateway, the probes, and a control plane for all else if there is one."""

    def __init__(
        self, gateway: Gateway, control_plane: Asgi | None = None, *, metrics_token: str = ""
    ) -> None:
        self.gateway = gateway
        self._metrics_token = metrics_token
        self.elsewhere: Asgi = control_plane or gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the process's lifespan."""
        if scope["type"] == "http" and scope["path"].startswith(METERED):
            await self.gateway(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"] == "/healthz":
            await _answer(send, 200, b"ok\n")
        elif scope["path"] == "/readyz":
            await self._readyz(send)
        elif scope["path"] == "/metrics":
            await self._metrics(scope, send)
        else:
            await self.elsewhere(scope, receive, send)

    def at_once(self, exchange: Exchange) -> bool:
        """Begin to answer a metered request whose answer is at hand; a server of our own asks this first."""
        return exchange.scope["path"].startswith(METERED) and self.gateway.at_once(exchange)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.gateway.startup()
        gc.collect()
        gc.freeze()  # what is here now stays: no collection has to walk through it while calls wait
        gc.set_threshold(*COLLECT_AFTER)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.gateway.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    async def _readyz(self, send: Send) -> None:
        report = self.gateway.health.report()
        await _answer(
            send, 200 if report.ready else 503, "".join(f"{line}\n" for line in report.lines).encode()
        )

    async def _metrics(self, scope: Scope, send: Send) -> None:
        sent = dict(scope["headers"]).get(b"authorization", b"")
        if self._metrics_token and not compare_digest(sent, b"Bearer " + self._metrics_token.encode()):
            await _answer(send, 401, b"send 'Authorization: Bearer' with METRICS_TOKEN\n")
        else:
            await _answer(send, 200, await self.gateway.exposition.text(), CONTENT_TYPE.encode())


async def _answer(
    send: Send, status: int, body: bytes, content_type: bytes = b"text/plain; charset=utf-8"
) -> None:
    headers = [(b"content-type", content_type), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


configure(env.text("LOG_LEVEL", "INFO"))
application = Server(Gateway(gateway_settings()), metrics_token=env.text("METRICS_TOKEN"))
