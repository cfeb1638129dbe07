"""What the gateway's tests act on: rows in the database, a gateway that serves, and a client."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import uvicorn

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.http.protocol import HttpProtocol
from cacheproxy.gateway.semantics import Open, open_shipped
from tenants import keys

PEPPER = "pepper of the tests"
ALL_SCOPES = ["inference", "usage:read", "invoices:read"]


class Tenant(NamedTuple):
    """A tenant with one key."""

    id: int
    api_key_id: int
    key: str


class World:
    """Rows, made straight with SQL: the gateway knows only the views over them."""

    def __init__(self, connection: Any) -> None:
        self.sql = connection

    async def add_model(
        self,
        name: str,
        url: str,
        *,
        protocol: str = "openai",
        cache: Mapping[str, Any] | None = None,
        metering: Mapping[str, Any] | None = None,
        timeout_seconds: int = 10,
        api_key_env: str = "",
    ) -> None:
        await self.sql.execute(
            "INSERT INTO cacheproxy_servedmodel (name, version, retry, cache, metering, enabled)"
            " VALUES ($1, '1', 'safe', $2, $3, true)",
            name, json.dumps(cache or {}), json.dumps(metering or {}),
        )  # fmt: skip
        await self.add_target(
            name,
            f"{name}-server",
            url,
            protocol=protocol,
            timeout_seconds=timeout_seconds,
            api_key_env=api_key_env,
        )

    async def add_target(
        self,
        model: str,
        upstream: str,
        url: str,
        *,
        protocol: str = "openai",
        timeout_seconds: int = 10,
        api_key_env: str = "",
        weight: int = 1,
        priority: int = 0,
    ) -> None:
        """Add an upstream of its own that serves *model*, too."""
        await self.sql.execute(
            "WITH upstream AS (INSERT INTO cacheproxy_upstream (name, protocol, url, api_key_env, timeout_seconds,"
            " connect_timeout_seconds, idle_timeout_seconds, breaker_failures, breaker_open_seconds)"
            " VALUES ($1, $2, $3, $4, $5, 5, 60, 1000, 10) RETURNING id)"
            " INSERT INTO cacheproxy_target (model_id, upstream_id, upstream_model, weight, priority)"
            " SELECT m.id, upstream.id, 'small', $7, $8 FROM cacheproxy_servedmodel m, upstream WHERE m.name = $6",
            upstream, protocol, url, api_key_env, timeout_seconds, model, weight, priority,
        )  # fmt: skip

    async def add_plan(
        self, name: str, prices: Mapping[str, Mapping[str, str]], hit_discounts: Mapping[str, str]
    ) -> int:
        """Add a plan in USD: model → pool → amount per million; outcome → percent."""
        plan_id: int = await self.sql.fetchval(
            "INSERT INTO billing_plan (name, currency, created_at) VALUES ($1, 'USD', now()) RETURNING id",
            name,
        )
        for model, pools in prices.items():
            for pool, amount in pools.items():
                await self.sql.execute(
                    "INSERT INTO billing_price (plan_id, model, pool, amount, per, effective_from, created_at)"
                    " VALUES ($1, $2, $3, $4::text::numeric, 1000000, now() - interval '1 day', now())",
                    plan_id, model, pool, amount,
                )  # fmt: skip
        for outcome, percent in hit_discounts.items():
            await self.sql.execute(
                "INSERT INTO billing_hitdiscount (plan_id, outcome, model, pool, percent, effective_from, created_at)"
                " VALUES ($1, $2, '', '', $3::text::numeric, now() - interval '1 day', now())",
                plan_id, outcome, percent,
            )  # fmt: skip
        return plan_id

    async def add_tenant(self, slug: str, plan_id: int | None) -> Tenant:
        tenant_id = await self.sql.fetchval(
            "INSERT INTO tenants_tenant (slug, name, status, cache_secret, billing_email, billing_address, created_at)"
            " VALUES ($1, $1, 'active', $2, '', '', now()) RETURNING id",
            slug, os.urandom(32),
        )  # fmt: skip
        if plan_id is not None:
            await self.sql.execute(
                "INSERT INTO billing_subscription (tenant_id, plan_id, starts_at)"
                " VALUES ($1, $2, now() - interval '1 day')",
                tenant_id, plan_id,
            )  # fmt: skip
        api_key_id, key = await self.add_key(tenant_id)
        return Tenant(tenant_id, api_key_id, key)

    async def add_key(self, tenant_id: int, scopes: list[str] | None = None) -> tuple[int, str]:
        key = keys.generate()
        api_key_id = await self.sql.fetchval(
            "INSERT INTO tenants_apikey (tenant_id, name, public_id, digest, scopes, created_at)"
            " VALUES ($1, 'test', $2, $3, $4, now()) RETURNING id",
            tenant_id, key.public_id, keys.digest(key.text, PEPPER), scopes or ALL_SCOPES,
        )  # fmt: skip
        return api_key_id, key.text

    async def add_pool(self, name: str, *members: Tenant, pad_hits: bool = False) -> int:
        """Add a pool with these members, and return its id."""
        pool_id: int = await self.sql.fetchval(
            "INSERT INTO cacheproxy_cachepool (name, secret, pad_hits, made_at) VALUES ($1, $2, $3, now())"
            " RETURNING id",
            name, os.urandom(32), pad_hits,
        )  # fmt: skip
        for member in members:
            await self.join(pool_id, member)
        return pool_id

    async def join(self, pool_id: int, tenant: Tenant) -> None:
        """Let a tenant into a pool."""
        await self.sql.execute(
            "INSERT INTO cacheproxy_poolmembership"
            " (pool_id, tenant_id, agreed_by, joined_at, joined_by, joined_via, left_by, left_via)"
            " VALUES ($1, $2, 'Ann', now(), 'test', 'command', '', '')",
            pool_id, tenant.id,
        )  # fmt: skip

    async def leave(self, pool_id: int, tenant: Tenant) -> None:
        """Let a tenant out of a pool, which gets another secret."""
        await self.sql.execute(
            "WITH stay AS (UPDATE cacheproxy_poolmembership SET left_at = now(), left_by = 'test', left_via = 'command'"
            " WHERE pool_id = $1 AND tenant_id = $2 AND left_at IS NULL RETURNING pool_id)"
            " UPDATE cacheproxy_cachepool SET secret = $3 FROM stay WHERE id = stay.pool_id",
            pool_id, tenant.id, os.urandom(32),
        )  # fmt: skip

    async def invalidate(self, tenant_id: int | None = None, **place: str) -> int:
        """Add an invalidation, and return its epoch."""
        stated = {"model": "", "version": "", "session": "", "tag": "", "key": ""} | place
        epoch: int = await self.sql.fetchval(
            "INSERT INTO cacheproxy_cacheinvalidation"
            " (tenant_id, model, version, session, tag, key, reason, made_by, via, made_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, '', 'test', 'command', now()) RETURNING epoch",
            tenant_id, *stated.values(),
        )  # fmt: skip
        return epoch

    async def events(self) -> list[Any]:
        """Return every usage event, oldest first."""
        rows: list[Any] = await self.sql.fetch("SELECT * FROM metering_usageevent ORDER BY event_id")
        return rows


class Answer(NamedTuple):
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        code: str = self.document["error"]["code"]
        return code


class Client:
    """A customer's program."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self.session = session
        self.url = url
        self.key = key

    async def post(self, path: str, document: Any, headers: Mapping[str, str] | None = None) -> Answer:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        sent = {"authorization": f"Bearer {self.key}", "content-type": "application/json", **(headers or {})}
        async with self.session.post(self.url + path, data=body, headers=sent) as response:
            return Answer(
                response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()
            )

    async def get(self, path: str) -> Answer:
        async with self.session.get(
            self.url + path, headers={"authorization": f"Bearer {self.key}"}
        ) as response:
            return Answer(
                response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()
            )

    async def chat(self, text: str = "Hi", headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        document = {"model": "qwen-small", "messages": [{"role": "user", "content": text}], **more}
        return await self.post("/v1/chat/completions", document, headers)


@contextlib.asynccontextmanager
async def serving(
    settings: GatewaySettings,
    *,
    http: type[HttpProtocol] = HttpProtocol,
    open_tier: Open = open_shipped,
) -> AsyncIterator[tuple[Gateway, str]]:
    """Serve a gateway over HTTP in this event loop; yield it and its URL."""
    gateway = Gateway(settings, open_tier=open_tier)
    await gateway.startup()
    server = uvicorn.Server(
        uvicorn.Config(
            gateway,
            port=0,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            http=http,
            ws="none",
        )
    )
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield gateway, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
        await gateway.shutdown()


async def eventually(check: Callable[[], Awaitable[Any]], *, within_seconds: float = 3) -> Any:
    """Return what *check* says once that is true."""
    async with asyncio.timeout(within_seconds):
        while not (found := await check()):  # noqa: ASYNC110 - what is waited for happens in other programs
            await asyncio.sleep(0.02)
    return found


async def connect(database_url: str) -> Any:
    """Return a connection for the test itself."""
    return await asyncpg.connect(database_url)
