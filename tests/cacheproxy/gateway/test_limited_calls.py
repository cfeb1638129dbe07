"""Limits and budgets on calls' way: over HTTP, with their events, in the protocol's shape."""

import asyncio
import json
from typing import Any

import openai

from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, drop

COST = 13_500
"""What a call of 12 tokens in and 5 out costs, in billionths of a dollar: 0.50 and 1.50 a million."""


async def limit_key(world: World, api_key_id: int, **limits: Any) -> None:
    for name, value in limits.items():
        await world.sql.execute(f"UPDATE tenants_apikey SET {name} = $1 WHERE id = $2", value, api_key_id)


async def add_budget(world: World, tenant_id: int, hard_amount: str) -> int:
    budget_id: int = await world.sql.fetchval(
        "INSERT INTO billing_budget (tenant_id, period, hard_amount, webhook_url, webhook_secret, email, created_at)"
        " VALUES ($1, 'month', $2::text::numeric, '', '', '', now()) RETURNING id",
        tenant_id, hard_amount,
    )  # fmt: skip
    return budget_id


async def limited(client: Client) -> None:
    """Return once the gateway knows of a limit, by its headers."""

    async def told() -> bool:
        return "x-ratelimit-limit-requests" in (await client.chat("known?")).headers

    await eventually(told, within_seconds=1)


async def counter(redis: Any, budget_id: int) -> dict[bytes, bytes]:
    (key,) = [
        key async for key in redis.scan_iter(f"zerorate:*:budget:{budget_id}:*") if not key.endswith(b":x")
    ]
    found: dict[bytes, bytes] = await redis.hgetall(key)
    return found


async def test_a_refused_call_is_told_when_to_come_again_and_leaves_no_event(
    client: Client, stranger: Client, world: World, cast: Cast, upstream: FakeUpstream
) -> None:
    await client.chat("known?")
    await limit_key(world, cast.acme.api_key_id, requests_per_minute=2)
    await limited(client)
    first = await client.chat("one")
    assert (first.status, first.headers["x-ratelimit-remaining-requests"]) == (200, "1")
    await client.chat("two")
    events, calls = len(await world.events()), len(upstream.received)
    refused = await client.chat("three")
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
    assert refused.document["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert 0 < int(refused.headers["retry-after-ms"]) <= 30_000
    assert "x-should-retry" not in refused.headers
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    hit = await client.chat("one")  # hits are not counted
    assert (hit.status, hit.headers["x-ratelimit-limit-requests"]) == (200, "2")
    assert len(await world.events()) == events + 1
    assert len(upstream.received) == calls
    assert (await stranger.chat("three")).status == 200


async def test_openais_client_waits_and_comes_again(client: Client, world: World, cast: Cast) -> None:
    await client.chat("known?")
    await limit_key(world, cast.acme.api_key_id, requests_per_minute=20)
    await limited(client)
    number = 0
    while (await client.chat(f"call {number}")).status == 200:
        number += 1
    async with openai.AsyncOpenAI(base_url=f"{client.url}/v1", api_key=client.key, max_retries=3) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(
            model="qwen-small", messages=[{"role": "user", "content": "patience"}]
        )
    assert raw.parse().choices[0].message.content == "Hello there."
    assert raw.retries_taken >= 1


async def test_a_budget_is_charged_what_calls_cost_and_then_refuses(
    client: Client, world: World, cast: Cast, upstream: FakeUpstream, redis: Any
) -> None:
    budget_id = await add_budget(world, cast.acme.id, "0.00005")  # three calls, and some

    async def refused() -> bool:  # the assumed output alone would cost more
        return (await client.chat("known?", cache=str(asyncio.get_running_loop().time()))).status == 402

    await eventually(refused, within_seconds=1)
    charged = 0
    for number in range(5):
        answered = await client.chat(f"call {number}", max_tokens=5)
        if answered.status == 402:
            break
        charged += COST
    assert (answered.status, answered.code) == (402, "budget_exceeded")
    assert answered.headers["x-should-retry"] == "false"

    async def settled() -> bool:
        kept = await counter(redis, budget_id)
        return kept[b"reserved"] == b"0" and int(kept.get(b"spent", 0)) >= charged

    await eventually(settled, within_seconds=2)


async def test_a_failed_call_gives_its_money_and_its_slot_back(
    client: Client, world: World, cast: Cast, upstream: FakeUpstream, redis: Any
) -> None:
    budget_id = await add_budget(world, cast.acme.id, "1")
    await limit_key(world, cast.acme.api_key_id, concurrent_requests=1, requests_per_minute=1000)
    await client.chat("known?")
    await limited(client)
    for failure in (drop(), answer({"error": {"message": "no"}}, status=500)):
        upstream.then(failure)
        assert (await client.chat(f"fails {failure}")).status >= 500
    assert (await client.chat("works")).status == 200

    async def settled() -> bool:
        kept = await counter(redis, budget_id)
        return kept[b"reserved"] == b"0"

    await eventually(settled, within_seconds=2)


async def test_nobody_is_refused_for_the_limits_of_whom_they_listened_to(
    client: Client, world: World, cast: Cast, upstream: FakeUpstream
) -> None:
    await client.chat("known?")
    _, other_key = await world.add_key(cast.acme.id)
    other = Client(client.session, client.url, other_key)
    await limit_key(world, cast.acme.api_key_id, requests_per_minute=1)
    await limited(client)
    await client.chat("the one call of this minute")
    upstream.then(answer(chat_answer(), delay_seconds=0.2))
    answers = await asyncio.gather(
        *(caller.chat("the same question") for caller in [*[client] * 6, other, *[client] * 6])
    )
    assert answers[6].status == 200, json.loads(answers[6].body)
