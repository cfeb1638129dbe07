"""Answers asked for again while calls still get the old ones: by whom, how often, at whose expense."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.freshness.conftest import (
    BRIEFLY,
    EARLY,
    TAKES_SECONDS,
    WHILE,
    refreshes,
    set_policy,
    status_of,
    text_of,
)
from tests.cacheproxy.gateway.test_metrics import of
from tests.cacheproxy.gateway.world import Answer, Client, World, eventually, serving
from tests.fakes.upstream import Behaviour, FakeUpstream, answer, chat_answer, drop, html

Gatewayed = tuple[Gateway, str]


def gives(client: Client, text: str) -> Callable[[], Awaitable[bool]]:
    """Return a check that the client's question has the answer *text* by now."""

    async def check() -> bool:
        given = await client.chat()
        assert "hit" in status_of(given), "no call waits"
        return text_of(given) == text

    return check


async def test_an_answer_is_replaced_before_it_expires_and_no_call_waits(
    client: Client, upstream: FakeUpstream, world: World, gateway: Gatewayed
) -> None:
    await set_policy(world, EARLY)
    first = await client.chat(cache=BRIEFLY)
    slowest_seconds = 0.0
    for _ in range(200):
        begun_at = time.monotonic()
        given = await client.chat()
        slowest_seconds = max(slowest_seconds, time.monotonic() - begun_at)
        assert status_of(given) == "hit; detail=exact"
        assert given.headers["x-zerorate-source"] == first.headers["x-request-id"]
        if text_of(given) == "2":
            break
        await asyncio.sleep(0.01)
    assert text_of(given) == "2"
    assert int(given.headers["age"]) < TAKES_SECONDS + 1
    assert slowest_seconds < TAKES_SECONDS


async def test_nobody_is_billed_for_a_refresh(
    client: Client, upstream: FakeUpstream, world: World, gateway: Gatewayed
) -> None:
    """One miss, and hits that name it; what the refresh took is the operator's, who sees it in the metrics."""
    await set_policy(world, WHILE)
    await client.chat()
    await asyncio.sleep(1.1)
    await eventually(gives(client, "2"))
    miss, *hits = await world.events()
    assert (miss["outcome"], {hit["outcome"] for hit in hits}) == ("miss", {"exact"})
    assert {hit["source_event"] for hit in hits} == {miss["event_id"]}
    assert await refreshes(gateway[0], "replaced") == 1
    shown = await gateway[0].exposition.text()
    took = {"model": "qwen-small", "purpose": "refresh"}
    assert of(shown, "background_tokens_total", **took, pool="input") == 12
    assert of(shown, "background_tokens_total", **took, pool="output") == 5


async def test_limits_do_not_count_a_refresh(client: Client, upstream: FakeUpstream, world: World) -> None:
    await world.sql.execute("UPDATE billing_plan SET requests_per_minute = 1")
    await set_policy(world, WHILE)
    await client.chat()
    await asyncio.sleep(1.1)
    await eventually(gives(client, "2"))


async def test_an_expired_answer_is_given_while_it_is_asked_for_again(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await set_policy(world, WHILE)
    first = await client.chat()
    await asyncio.sleep(1.1)
    stale = await asyncio.gather(*(client.chat() for _ in range(20)))
    assert {status_of(given) for given in stale} == {"hit; detail=stale-while-revalidate"}
    assert {text_of(given) for given in stale} == {"1"}
    assert "ttl=-" in stale[0].headers["cache-status"]
    assert int(stale[0].headers["age"]) >= 1
    assert stale[0].headers["x-zerorate-source"] == first.headers["x-request-id"]
    await eventually(gives(client, "2"))
    assert len(upstream.received) == 2
    note = msgspec.json.decode((await world.events())[1]["raw_usage"])
    assert note == {"stale_while_revalidate": {"age_seconds": 1}}


async def test_a_stream_is_given_and_refreshed_as_well(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await set_policy(world, WHILE)
    await client.chat(stream=True)
    await asyncio.sleep(1.1)
    stale = await client.chat(stream=True)
    assert status_of(stale) == "hit; detail=stale-while-revalidate"
    assert b'"content":"1"' in stale.body.replace(b'": "', b'":"')
    await eventually(gives(client, "2"))
    assert len(upstream.received) == 2


async def test_a_call_that_comes_after_the_end_listens_to_the_refresh(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await set_policy(world, EARLY)
    first = await client.chat(cache={"ttl": 1})
    upstream.then(answer(chat_answer("slow"), delay_seconds=1.5))
    await eventually(lambda: _is_asked(client, upstream))
    await asyncio.sleep(1.1)
    late = await client.chat()
    assert (status_of(late), text_of(late)) == ("hit; detail=coalesced", "slow")
    assert late.headers["x-zerorate-source"] == first.headers["x-request-id"]
    assert len(upstream.received) == 2
    assert {event["outcome"] for event in await world.events()} == {"miss", "exact", "coalesced"}


async def _is_asked(client: Client, upstream: FakeUpstream) -> bool:
    await client.chat()
    return len(upstream.received) == 2


@pytest.mark.parametrize("behaviour", [html(500), drop(), answer({"error": {"message": "no"}}, status=400)])
async def test_a_refresh_that_fails_leaves_the_old_answer_and_is_not_repeated_at_once(
    client: Client, upstream: FakeUpstream, world: World, gateway: Gatewayed, behaviour: Behaviour
) -> None:
    await set_policy(world, WHILE)
    await client.chat()
    await asyncio.sleep(1.1)
    upstream.then(behaviour)
    for _ in range(20):
        assert text_of(await client.chat()) == "1"
        await asyncio.sleep(0.01)
    assert len(upstream.received) == 2
    assert await refreshes(gateway[0], "failed") == 1
    assert {event["outcome"] for event in await world.events()} == {"miss", "exact"}


async def test_an_answer_that_may_not_be_kept_replaces_none(
    client: Client, upstream: FakeUpstream, world: World, gateway: Gatewayed
) -> None:
    await set_policy(world, {**WHILE, "cacheable": {"max_bytes": 1000}})
    await client.chat()
    await asyncio.sleep(1.1)
    upstream.then(answer(chat_answer("long " * 1000)))
    assert text_of(await client.chat()) == "1"
    await eventually(lambda: refreshes(gateway[0], "unfit"))
    assert text_of(await client.chat()) == "1"


async def test_past_its_time_the_answer_stands_in_for_a_failure_only(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    policy = {**WHILE, "stale_while_revalidate_seconds": 1, "stale_if_error_seconds": 60}
    await set_policy(world, policy)
    await client.chat()
    upstream.then(html(500), html(500))
    await asyncio.sleep(1.1)
    assert status_of(await client.chat()) == "hit; detail=stale-while-revalidate"
    await asyncio.sleep(1.1)
    assert status_of(await client.chat()) == "hit; fwd=stale; fwd-status=500; detail=stale-if-error"
    assert text_of(await client.chat()) == "2"


@contextlib.asynccontextmanager
async def _two(settings: GatewaySettings, session: aiohttp.ClientSession, key: str) -> Any:
    async with serving(settings) as one, serving(settings) as other:
        yield [one[0], other[0]], [Client(session, url, key) for _, url in (one, other)]


@pytest.mark.parametrize("policy", [EARLY, WHILE])
async def test_two_gateways_ask_once(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
    policy: Mapping[str, Any],
) -> None:
    await set_policy(world, policy)
    async with _two(gateway_settings, session, cast.acme.key) as (gateways, clients):
        await clients[0].chat(cache=BRIEFLY if policy is EARLY else {})
        await asyncio.sleep(1.1 if policy is WHILE else 0)
        upstream.then(answer(chat_answer("2"), delay_seconds=TAKES_SECONDS))

        async def both() -> bool:
            given = await asyncio.gather(*(client.chat() for client in clients))
            assert {status_of(each).split(";")[0] for each in given} == {"hit"}
            return {text_of(each) for each in given} == {"2"}

        await eventually(both)
        assert len(upstream.received) == 2
        assert sum([await refreshes(each, "replaced") for each in gateways]) == 1


async def test_what_another_gateway_kept_is_given_stale_as_well(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
) -> None:
    """Out of Redis: nothing is in the second one's memory."""
    await set_policy(world, WHILE)
    async with _two(gateway_settings, session, cast.acme.key) as (_, clients):
        await clients[0].chat()
        await asyncio.sleep(1.1)
        got: Answer = await clients[1].chat()
        assert (status_of(got), text_of(got)) == ("hit; detail=stale-while-revalidate", "1")
        await eventually(gives(clients[1], "2"))
        assert len(upstream.received) == 2


async def test_without_redis_each_gateway_refreshes_for_itself(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
) -> None:
    await set_policy(world, WHILE)
    async with serving(msgspec.structs.replace(gateway_settings, redis_url=None)) as (_, url):
        client = Client(session, url, cast.acme.key)
        await client.chat()
        await asyncio.sleep(1.1)
        await eventually(gives(client, "2"))


@pytest.mark.parametrize("bound", ["max_background_calls", "max_calls_per_upstream"])
async def test_a_refresh_takes_no_room_that_calls_need(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
    bound: str,
) -> None:
    """None are allowed; or one of the upstream's two places is taken. Calls get the old answer meanwhile."""
    await set_policy(world, WHILE)
    few = {"max_background_calls": 0} if bound == "max_background_calls" else {"max_calls_per_upstream": 2}
    async with serving(msgspec.structs.replace(gateway_settings, **few)) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        await client.chat()
        await asyncio.sleep(1.1)
        upstream.then(answer(chat_answer("else"), delay_seconds=1))
        waiting = asyncio.create_task(client.chat("something else"))
        await eventually(lambda: _was_asked(upstream, 2))
        assert text_of(await client.chat()) == "1"
        assert await refreshes(gateway, "put_off") == 1
        assert len(upstream.received) == 2
        assert text_of(await waiting) == "else"


async def _was_asked(upstream: FakeUpstream, times: int) -> bool:
    return len(upstream.received) == times


async def test_a_shutdown_waits_for_refreshes(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
) -> None:
    await set_policy(world, WHILE)
    async with serving(gateway_settings) as (_, url):
        client = Client(session, url, cast.acme.key)
        await client.chat()
        await asyncio.sleep(1.1)
        assert text_of(await client.chat()) == "1"
    async with serving(gateway_settings) as (_, url):
        given = await Client(session, url, cast.acme.key).chat()
        assert (status_of(given).split(";")[0], text_of(given)) == ("hit", "2")


async def test_a_refreshed_answer_ends_with_the_tags_of_the_one_that_it_replaced(
    client: Client, upstream: FakeUpstream, world: World, cast: Cast
) -> None:
    await set_policy(world, {**WHILE, "ttl_seconds": 2})
    await client.chat(headers={"x-zerorate-cache-tags": "docs"})
    await asyncio.sleep(2.1)
    await eventually(gives(client, "2"))
    await world.invalidate(cast.acme.id, tag="docs")

    async def is_gone() -> bool:
        return status_of(await client.chat()).startswith("fwd=miss")

    await eventually(is_gone)
