"""What the gateway counts of the cache: where hits came from, and why misses were none."""

import timeit
from typing import Any

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.recording.kept_requests import KeptRequests
from cacheproxy.gateway.telemetry.metrics import OTHER
from cacheproxy.gateway.telemetry.statistics import Statistics
from cacheproxy.gateway.telemetry.tally import Tally
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.test_metrics import of
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream


@pytest.fixture
def gateway_settings(gateway_settings: GatewaySettings) -> GatewaySettings:
    return msgspec.structs.replace(gateway_settings, statistics_seconds=0.05)


async def rows(world: World, tenant_id: int) -> dict[str, int]:
    """Return the calls of a tenant by what came of them."""
    found: list[Any] = await world.sql.fetch(
        "SELECT result, sum(calls)::int AS calls FROM cacheproxy_cachestatistic WHERE tenant_id = $1 GROUP BY result",
        tenant_id,
    )
    return {row["result"]: row["calls"] for row in found}


async def expect(world: World, tenant_id: int, **calls: int) -> None:
    async def are_there() -> bool:
        return await rows(world, tenant_id) == calls

    try:
        await eventually(are_there)
    except TimeoutError:
        assert await rows(world, tenant_id) == calls


async def test_hits_and_misses_are_told_apart_by_tenant(
    client: Client, stranger: Client, cast: Cast, world: World, gateway: tuple[Gateway, str]
) -> None:
    for _ in range(3):
        await client.chat("one")
    await stranger.chat("one")
    await client.chat("two", {"cache-control": "no-store"})
    await expect(world, cast.acme.id, never_seen=1, memory=2, client=1)
    await expect(world, cast.stranger.id, never_seen=1)
    text = await gateway[0].exposition.text()
    assert of(text, "cache_hits_total", model="qwen-small", tier="memory") == 2
    assert of(text, "cache_misses_total", model="qwen-small", reason="never_seen") == 2
    kept = await world.sql.fetchrow("SELECT * FROM cacheproxy_cachestatistic WHERE result = 'memory'")
    answer = await client.chat("one")
    assert kept["size_bytes"] == kept["calls"] * len(answer.body)
    assert kept["hour"].minute == 0


async def test_another_gateways_answer_is_a_hit_in_redis(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    client: Client,
    cast: Cast,
    world: World,
) -> None:
    await client.chat("one")
    async with serving(gateway_settings) as (_, url):
        other = Client(session, url, cast.acme.key)
        await eventually(lambda: _is_hit(other))
    await expect(world, cast.acme.id, never_seen=1, redis=1)


async def _is_hit(client: Client) -> bool:
    answer = await client.chat("one", {"cache-control": "only-if-cached"})
    return answer.status == 200


async def test_an_invalidation_and_a_new_version_are_named_as_reasons(
    client: Client, cast: Cast, world: World
) -> None:
    await client.chat("one")
    await world.invalidate(cast.acme.id)

    async def is_miss() -> bool:
        return "fwd=miss" in (await client.chat("one")).headers["cache-status"]

    await eventually(is_miss)
    await world.sql.execute("UPDATE cacheproxy_servedmodel SET version = '2' WHERE name = 'qwen-small'")
    await eventually(is_miss)

    async def are_named() -> bool:
        found = await rows(world, cast.acme.id)
        return {name: found.get(name) for name in ("never_seen", "invalidated", "version")} == {
            "never_seen": 1, "invalidated": 1, "version": 1,
        }  # fmt: skip

    await eventually(are_named)


async def test_what_expired_or_may_not_be_kept_says_so(
    client: Client, cast: Cast, world: World, upstream: FakeUpstream
) -> None:
    await world.add_model(
        "brief", f"{upstream.url}/v1", cache={"ttl_seconds": 1, "ttl_jitter": 0, "stale_if_error_seconds": 60}
    )
    await world.add_model("unkept", f"{upstream.url}/v1", cache={"enabled": False})
    for model in ("brief", "unkept"):
        await world.sql.execute(
            "INSERT INTO billing_price (plan_id, model, pool, amount, per, effective_from, created_at)"
            " SELECT $1, $2, pool, 1, 1000000, now() - interval '1 day', now()"
            " FROM unnest(ARRAY['input', 'output']) AS pool",
            cast.plan_id, model,
        )  # fmt: skip

    async def is_known() -> bool:
        return (await client.chat("one", model="unkept")).status == 200

    await eventually(is_known)
    await client.chat("one", model="brief")

    async def is_expired() -> bool:
        return "fwd=miss" in (await client.chat("one", model="brief")).headers["cache-status"]

    await eventually(is_expired)
    await eventually(lambda: _has(world, cast.acme.id, "expired", "policy", "never_seen"))


async def _has(world: World, tenant_id: int, *results: str) -> bool:
    found = await rows(world, tenant_id)
    return all(found.get(result) == 1 for result in results)


async def test_a_list_counts_as_the_call_that_it_is(client: Client, cast: Cast, world: World) -> None:
    for items in (["a", "b"], ["a", "b"], ["a", "c"]):
        answer = await client.post("/v1/embeddings", {"model": "embedder", "input": items})
        assert answer.status == 200
    await expect(world, cast.acme.id, never_seen=2, batch=1)


async def test_what_postgres_did_not_take_waits(wires: Wires, cast: Cast, world: World) -> None:
    tally = Tally()
    statistics = Statistics(wires.gateway_settings, tally, KeptRequests(wires.gateway_settings))
    tally.hit(cast.acme.id, "qwen-small", "memory", 7, 1500)
    tally.missed(10**9, "qwen-small", "never_seen")  # of a tenant that nobody knows
    wires.postgres.cut()
    await statistics.write()
    tally.hit(cast.acme.id, "qwen-small", "memory", 7, 500)
    wires.postgres.mend()
    await statistics.write()
    await statistics.write()
    found = await world.sql.fetch("SELECT * FROM cacheproxy_cachestatistic")
    assert [(row["calls"], row["size_bytes"], row["age_ms"]) for row in found] == [(2, 14, 2000)]


def test_names_and_keys_are_bounded_and_totals_are_whole() -> None:
    tally = Tally(max_names=2, max_keys=3)
    for number in range(5):
        tally.missed(number, f"model-{number}", "evicted")
    assert len(tally.take()) == 3
    assert tally.calls(("evicted",)) == {
        ("model-3", "evicted"): 1, ("model-4", "evicted"): 1, (OTHER, "evicted"): 3,
    }  # fmt: skip
    assert tally.take() == {}


def test_a_hit_costs_next_to_nothing() -> None:
    tally = Tally()
    count = lambda: tally.hit(7, "qwen-small", "memory", 1500, 40)  # noqa: E731
    assert min(timeit.repeat(count, number=10_000, repeat=7)) / 10_000 < 0.000_001
