"""Semantic hits are served as their error budget allows, and candidates that are not served teach it."""

from typing import Any

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.budget.account import State, Tally
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, Semantic, checks, findings, remembered
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer

SHUT = State(shut=True, trusted=False, proof=Tally(checks=60, wrong=20), drifts=1)


async def put_state(world: World, state: State) -> None:
    await world.sql.execute(
        "INSERT INTO cacheproxy_semanticbudget (model, version, state, updated_at)"
        " VALUES ('qwen-small', '1', $1, now())", msgspec.json.encode(state).decode(),
    )  # fmt: skip


async def state_of(world: World) -> dict[str, Any]:
    state = await world.sql.fetchval("SELECT state FROM cacheproxy_semanticbudget")
    known: dict[str, Any] = msgspec.json.decode(state)
    return known


async def test_what_is_shut_off_is_not_served_from_the_first_call_on_and_says_so(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    semantic: Semantic,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await put_state(world, SHUT)
    async with serving(gateway_settings, open_tier=semantic.open) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        await client.chat(ASKED)
        await remembered(world)
        upstream.then(answer(chat_answer("Hello there!")))
        refused = await client.chat(REWORDED)
        assert refused.headers["cache-status"] == "zerorate; fwd=miss; stored"
        assert findings((gateway, url)) == {"none": 1, "shut": 1}

        async def is_compared() -> bool:
            return bool(checks((gateway, url)))

        await eventually(is_compared)
        assert checks((gateway, url)) == {"same": 1}
        assert "degraded: semantic hits of qwen-small are shut off by their error budget" in (
            gateway.health.report().lines
        )
        metrics = (await gateway.exposition.text()).decode()
    assert 'zerorate_semantic_findings_total{model="qwen-small",reason="shut"} 1.0' in metrics
    assert 'zerorate_semantic_checks_total{model="qwen-small",result="same"} 1.0' in metrics
    assert 'zerorate_semantic_shut_off{model="qwen-small"' in metrics
    assert "Semantic hits of qwen-small are shut off" in caplog.text
    assert (await state_of(world))["lookups"] == 2
    assert len(upstream.received) == 2


async def test_a_candidate_that_is_not_served_is_compared_with_the_miss(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    semantic: Semantic,
) -> None:
    await put_state(world, SHUT)
    async with serving(gateway_settings, open_tier=semantic.open) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        await client.chat(ASKED)
        await remembered(world)
        upstream.then(answer(chat_answer("That costs 12 euros.")))
        await client.chat(REWORDED)

        async def is_compared() -> bool:
            return bool(checks((gateway, url)))

        await eventually(is_compared)
        assert checks((gateway, url)) == {"wrong": 1}
        await remembered(world, 2)
    regions = (await state_of(world))["regions"]
    assert list(regions.values()) == [[1.0, 1.0]]


async def test_metrics_tell_what_the_budget_takes_hits_for(
    client: Client, world: World, gateway: tuple[Gateway, str]
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    await client.chat(REWORDED)
    text = (await gateway[0].exposition.text()).decode()
    shares = {line.split("{")[0]: float(line.split()[-1]) for line in text.splitlines() if "_ratio{" in line}
    assert 0 < shares["zerorate_semantic_wrong_ratio"] <= shares["zerorate_semantic_tolerated_ratio"] == 0.05
    assert 'zerorate_cache_hits_total{model="qwen-small",tier="semantic"} 1.0' in text
