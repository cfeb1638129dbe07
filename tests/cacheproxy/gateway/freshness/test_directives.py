"""What a client may say of how fresh an answer has to be."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.cacheproxy.gateway.freshness.conftest import WHILE, set_policy, status_of, text_of
from tests.cacheproxy.gateway.world import Client, World
from tests.fakes.upstream import FakeUpstream, html

KEPT: Mapping[str, Any] = {"ttl_seconds": 1, "ttl_jitter": 0, "stale_if_error_seconds": 60}


def cache_control(value: str) -> dict[str, str]:
    return {"cache-control": value}


@pytest.mark.parametrize("directive", ["max-stale", "max-stale=30"])
async def test_max_stale_takes_an_expired_answer_as_it_is(
    client: Client, upstream: FakeUpstream, world: World, directive: str
) -> None:
    """And no refresh follows: the policy has none."""
    await set_policy(world, KEPT)
    await client.chat()
    await asyncio.sleep(1.1)
    stale = await client.chat(headers=cache_control(directive))
    assert (status_of(stale), text_of(stale)) == ("hit; detail=max-stale", "1")
    await asyncio.sleep(0.1)
    assert len(upstream.received) == 1
    assert (await world.events())[1]["raw_usage"] == '{"max_stale": {"age_seconds": 1}}'
    assert status_of(await client.chat()) == "fwd=miss; stored"


async def test_max_stale_goes_no_further_than_the_answer_is_kept(client: Client, world: World) -> None:
    await set_policy(world, {**KEPT, "stale_if_error_seconds": 0})
    await client.chat()
    await asyncio.sleep(1.1)
    assert status_of(await client.chat(headers=cache_control("max-stale"))) == "fwd=miss; stored"


@pytest.mark.parametrize("directive", ["max-stale=0", "max-age=600", "min-fresh=0"])
async def test_a_client_can_refuse_what_is_stale(client: Client, world: World, directive: str) -> None:
    await set_policy(world, WHILE)
    await client.chat()
    await asyncio.sleep(1.1)
    assert status_of(await client.chat(headers=cache_control(directive))) == "fwd=miss; stored"


async def test_min_fresh_takes_what_lasts_as_long(client: Client, world: World) -> None:
    await set_policy(world, {"ttl_seconds": 60, "ttl_jitter": 0})
    await client.chat()
    assert status_of(await client.chat(headers=cache_control("min-fresh=50"))) == "hit; detail=exact"
    assert status_of(await client.chat(headers=cache_control("min-fresh=61"))) == "fwd=miss; stored"


async def test_a_client_says_itself_whether_a_stale_answer_may_stand_in(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await set_policy(world, KEPT)
    await client.chat()
    await asyncio.sleep(1.1)
    upstream.then(html(500), html(500))
    assert (await client.chat(headers=cache_control("stale-if-error=0"))).status == 500
    assert status_of(await client.chat(headers=cache_control("stale-if-error=5"))).startswith(
        "hit; fwd=stale"
    )


async def test_what_one_call_found_is_given_to_those_who_listen_only_if_they_take_it(
    client: Client, stranger: Client, upstream: FakeUpstream, world: World
) -> None:
    """Both ask at once; the first stands in with a stale answer, which the other refuses and so asks for itself."""
    await set_policy(world, KEPT)
    await client.chat()
    await asyncio.sleep(1.1)
    upstream.then(html(500))
    one = asyncio.create_task(client.chat())
    await asyncio.sleep(0.05)
    other = await client.chat(headers=cache_control("stale-if-error=0"))
    assert status_of(await one).startswith("hit; fwd=stale")
    assert (status_of(other), text_of(other)) == ("fwd=miss; stored", "2")


@pytest.mark.parametrize("directive", ["min-fresh", "min-fresh=x", "max-stale=-1", "stale-if-error=1.5"])
async def test_a_value_that_is_no_number_is_refused(client: Client, directive: str) -> None:
    refused = await client.chat(headers=cache_control(directive))
    assert (refused.status, refused.code) == (400, "invalid_header")
    assert directive.partition("=")[0] in refused.document["error"]["message"]
