"""Fixtures of semantic hits: a model that wants them, the local encoder, and a judge whose verdicts are plain."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.rewordings.talk import Draw, Semantic
from tests.cacheproxy.gateway.world import World, serving
from tests.fakes.upstream import FakeUpstream
from tests.stack import models_dir

TRUSTED = {"semantic": {"threshold": 0.9}}
PRICES = {"input": "0.50", "output": "1.50"}


@pytest.fixture(scope="session")
def encoder() -> Iterator[LocalEncoder]:
    """Give the local encoder, loaded once."""
    encoder = LocalEncoder.open(models_dir())
    yield encoder
    encoder.close()


@pytest.fixture
def draw() -> Draw:
    """Give what decides whether a hit is checked: never, until a test says otherwise."""
    return Draw()


@pytest.fixture
def semantic(encoder: LocalEncoder, draw: Draw) -> Semantic:
    """Give what opens the tier for a gateway."""
    return Semantic(encoder, draw)


@pytest.fixture
def gateway_settings(gateway_settings: GatewaySettings) -> GatewaySettings:
    """Give settings under which a busy machine is no late look-up."""
    return msgspec.structs.replace(gateway_settings, semantic_budget_seconds=5.0)


@pytest.fixture
async def world(world: World) -> AsyncIterator[World]:
    """Give a database without entries and budgets, which none outlives."""
    await world.sql.execute("TRUNCATE cacheproxy_semanticentry, cacheproxy_semanticbudget")
    yield world
    await world.sql.execute("TRUNCATE cacheproxy_semanticentry, cacheproxy_semanticbudget")


@pytest.fixture
async def cast(world: World, upstream: FakeUpstream) -> Cast:
    """Give two tenants on a plan with models that share answers by meaning, and one that does not."""
    await world.add_model("qwen-small", f"{upstream.url}/v1", cache=TRUSTED)
    await world.add_model("in-session", f"{upstream.url}/v1", cache={**TRUSTED, "scope": "session"})
    await world.add_model("to-the-letter", f"{upstream.url}/v1")
    await world.add_model("claude", upstream.url, protocol="anthropic", cache=TRUSTED)
    await world.add_model("embedder", f"{upstream.url}/v1")
    encoded = {"semantic": {"threshold": 0.9, "encoder": "embedder"}}
    await world.add_model("encoded-afar", f"{upstream.url}/v1", cache=encoded)
    models = ("qwen-small", "in-session", "to-the-letter", "claude", "encoded-afar")
    prices = dict.fromkeys(models, PRICES)
    plan_id = await world.add_plan("standard", prices, {"semantic": "80"})
    return Cast(await world.add_tenant("acme", plan_id), await world.add_tenant("stranger", plan_id), plan_id)


@pytest.fixture
async def gateway(
    gateway_settings: GatewaySettings, cast: Cast, semantic: Semantic
) -> AsyncIterator[tuple[Gateway, str]]:
    """Give a serving gateway with the tier open, and its URL; afterwards nothing of it may be left."""
    before = asyncio.all_tasks()
    async with serving(gateway_settings, open_tier=semantic.open) as (gateway, url):
        yield gateway, url
    left = {
        task
        for task in asyncio.all_tasks() - before - {asyncio.current_task()}
        if "FakeUpstream" not in repr(task.get_coro())
    }
    assert not left, "the gateway left tasks behind"
