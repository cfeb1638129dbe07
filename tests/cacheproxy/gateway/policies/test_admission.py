"""What comes once is not kept, and what is refused is not asked for again."""

import asyncio
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.policies.conftest import Under
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer

REFUSAL = {"error": {"message": "No such tool.", "type": "invalid_request_error", "code": "no_tool"}}


def told(*answers: Any) -> list[str]:
    return [given.headers["cache-status"].split("; ttl")[0] for given in answers]


async def test_an_answer_is_kept_when_it_is_asked_for_again(
    under: Under, upstream: FakeUpstream, world: World
) -> None:
    async with under(admit_after=2) as client:
        answers = [await client.chat() for _ in range(4)]
    assert told(*answers) == [
        "zerorate; fwd=miss",
        "zerorate; fwd=miss; stored",
        "zerorate; hit",
        "zerorate; hit",
    ]
    assert [event["outcome"] for event in await world.events()] == ["miss", "miss", "exact", "exact"]


async def test_calls_at_once_share_an_answer_that_is_not_kept(under: Under, upstream: FakeUpstream) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=0.2))
    async with under(admit_after=2) as client:
        await asyncio.gather(*(client.chat() for _ in range(5)))
    assert len(upstream.received) == 1


async def test_a_second_sight_at_another_gateway_counts(
    under: Under, upstream: FakeUpstream, gateway_settings: GatewaySettings, session: aiohttp.ClientSession
) -> None:
    async with under(admit_after=2) as client, serving(gateway_settings) as (_, url):
        other = Client(session, url, client.key)
        answers = [await client.chat(), await other.chat(), await client.chat()]
    assert told(*answers) == ["zerorate; fwd=miss", "zerorate; fwd=miss; stored", "zerorate; hit"]


async def test_items_of_a_batch_are_admitted_one_by_one(under: Under, upstream: FakeUpstream) -> None:
    async def embed(client: Client, *texts: str) -> Any:
        return await client.post("/v1/embeddings", {"model": "embedder", "input": list(texts)})

    async with under("embedder", admit_after=2) as client:
        await embed(client, "a", "b")
        await embed(client, "b", "c")
        third = await embed(client, "b", "c", "a")
    assert third.headers["cache-status"].endswith("detail=hits-1-of-3")


async def test_a_refusal_is_given_again_and_nobody_pays(
    under: Under, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(answer(REFUSAL, status=400, headers={"x-upstream-id": "7"}))
    async with under(negative={}) as client:
        first, again = await client.chat("Hi"), await client.chat("Hi")
        other = await client.chat("Ho")
    assert (first.status, again.status, other.status) == (400, 400, 200)
    assert again.document == first.document == REFUSAL
    assert told(first, again) == ["zerorate; fwd=miss", "zerorate; hit"]
    assert again.headers["cache-status"].endswith("detail=negative")
    assert again.headers["x-should-retry"] == "false"
    assert "x-upstream-id" not in again.headers
    assert len(upstream.received) == 2
    assert [event["request_id"] for event in await world.events()] == [UUID(other.headers["x-request-id"])]


@pytest.mark.parametrize(
    ("status", "policy", "headers"),
    [
        (400, {}, {}),
        (429, {"negative": {}}, {}),
        (401, {"negative": {}}, {}),
        (404, {"negative": {"statuses": [400]}}, {}),
        (400, {"negative": {}}, {"cache-control": "no-cache"}),
        (400, {"negative": {}}, {"cache-control": "no-store"}),
        (400, {"negative": {}, "sensitive": {"detect": ["card"]}}, {}),
        (400, {"negative": {}, "enabled": False}, {}),
    ],
)
async def test_any_other_refusal_is_asked_for_again(
    status: int, policy: dict[str, Any], headers: dict[str, str], under: Under, upstream: FakeUpstream
) -> None:
    upstream.then(*[answer(REFUSAL, status=status)] * 2)
    async with under(**policy) as client:
        for _ in range(2):
            await client.chat(headers=headers)
    assert len(upstream.received) == 2


async def test_a_refusal_is_forgotten_in_time_and_by_an_answer(under: Under, upstream: FakeUpstream) -> None:
    upstream.then(answer(REFUSAL, status=400), answer(chat_answer()), answer(REFUSAL, status=400))
    async with under(negative={"ttl_seconds": 1}) as client:
        await client.chat("Hi")
        fresh = await client.chat("Hi", headers={"cache-control": "no-cache"})
        hit = await client.chat("Hi")
        await client.chat("Ho")
        await asyncio.sleep(1.05)
        after = await client.chat("Ho")
    assert (fresh.status, hit.status, after.status) == (200, 200, 200)


async def test_a_stranger_never_sees_a_refusal_of_another(
    under: Under, upstream: FakeUpstream, cast: Any, session: aiohttp.ClientSession
) -> None:
    upstream.then(answer(REFUSAL, status=400))
    async with under(negative={}) as client:
        await client.chat("Hi")
        stranger = await Client(session, client.url, cast.stranger.key).chat("Hi")
    assert stranger.status == 200
