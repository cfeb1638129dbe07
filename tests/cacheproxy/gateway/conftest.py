"""Fixtures of the gateway's tests: two tenants on one plan, a scripted upstream, a serving gateway."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.world import PEPPER, Client, Tenant, World, connect, serving
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wire import Wire, wire_to_postgres, wire_to_redis

PRICES = {
    "qwen-small": {"input": "0.50", "cache_read": "0.05", "cache_write": "0.625", "output": "1.50"},
    "embedder": {"input": "0.10"},
    "ocr": {"input": "2.00", "output": "4.00"},
}


class Cast(NamedTuple):
    """Who takes part."""

    acme: Tenant
    stranger: Tenant
    plan_id: int


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Give a scripted model server."""
    server = FakeUpstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def gateway_settings(live_db: str, redis_url: str) -> GatewaySettings:
    """Give settings for tests: quick to notice, and patient with Redis on a busy machine."""
    return GatewaySettings(
        database_url=live_db,
        redis_url=redis_url,
        key_pepper=PEPPER,
        retry_seconds=0.1,
        redis_budget_seconds=2.0,
    )


@pytest.fixture
async def world(gateway_settings: GatewaySettings) -> AsyncIterator[World]:
    """Give the database's rows."""
    connection = await connect(gateway_settings.database_url)
    yield World(connection)
    await connection.close()


@pytest.fixture
async def cast(world: World, upstream: FakeUpstream) -> Cast:
    """Give two tenants on a plan with three models."""
    await world.add_model("qwen-small", f"{upstream.url}/v1")
    await world.add_model("embedder", f"{upstream.url}/v1")
    await world.add_model(
        "ocr", f"{upstream.url}/predict", protocol="predict", cache={"volatile_fields": ["/request_id"]}
    )
    plan_id = await world.add_plan("standard", PRICES, {"exact": "80"})
    return Cast(await world.add_tenant("acme", plan_id), await world.add_tenant("stranger", plan_id), plan_id)


@pytest.fixture
async def gateway(gateway_settings: GatewaySettings, cast: Cast) -> AsyncIterator[tuple[Gateway, str]]:
    """Give a serving gateway and its URL; afterwards nothing of it may be left."""
    before = asyncio.all_tasks()
    async with serving(gateway_settings) as (gateway, url):
        yield gateway, url
    left = {
        task
        for task in asyncio.all_tasks() - before - {asyncio.current_task()}
        if "FakeUpstream" not in repr(task.get_coro())
    }
    assert not left, "the gateway left tasks behind"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def client(session: aiohttp.ClientSession, gateway: tuple[Gateway, str], cast: Cast) -> Client:
    """Give acme's program."""
    return Client(session, gateway[1], cast.acme.key)


@pytest.fixture
def stranger(session: aiohttp.ClientSession, gateway: tuple[Gateway, str], cast: Cast) -> Client:
    """Give the other tenant's program."""
    return Client(session, gateway[1], cast.stranger.key)


@dataclasses.dataclass
class Wires:
    """The two servers, each behind a wire, and gateway_settings that go through them."""

    postgres: Wire
    redis: Wire
    gateway_settings: GatewaySettings


@pytest.fixture
async def wires(gateway_settings: GatewaySettings) -> AsyncIterator[Wires]:
    """Give wires to PostgreSQL and Redis."""
    postgres, postgres_url = wire_to_postgres(gateway_settings.database_url)
    redis, redis_url = wire_to_redis(gateway_settings.redis_url or "")
    await postgres.start()
    await redis.start()
    yield Wires(
        postgres,
        redis,
        msgspec.structs.replace(
            gateway_settings,
            database_url=postgres_url(postgres),
            redis_url=redis_url(redis),
            database_timeout_seconds=0.5,
        ),
    )
    await postgres.stop()
    await redis.stop()
