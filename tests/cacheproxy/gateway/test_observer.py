"""What a real gateway has counted after real calls: each once, whatever became of it."""

import asyncio
import contextlib
from typing import Any

import aiohttp
import pytest

from cacheproxy.gateway.asgi import Gateway
from tests.cacheproxy.gateway.test_metrics import samples
from tests.cacheproxy.gateway.world import Client, eventually
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, chat_events, drop, stream

Counted = dict[tuple[str, str, str], float]


async def scraped(gateway: tuple[Gateway, str]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return samples(await gateway[0].exposition.text())


async def requests(gateway: tuple[Gateway, str]) -> Counted:
    """Return (model, outcome, status) → how many."""
    counted: Counted = {}
    for (name, labels), value in (await scraped(gateway)).items():
        if name == "zerorate_requests_total":
            facts = dict(labels)
            counted[facts["model"], facts["outcome"], facts["status"]] = value
    return counted


async def one(gateway: tuple[Gateway, str], name: str, **labels: str) -> float:
    return (await scraped(gateway)).get((f"zerorate_{name}", frozenset(labels.items())), 0)


async def test_each_call_is_counted_once_by_what_became_of_it(
    gateway: tuple[Gateway, str], client: Client, upstream: FakeUpstream
) -> None:
    await client.chat()
    await client.chat()
    await client.chat(stream=True)
    await client.chat(headers={"cache-control": "no-store", "idempotency-key": "1"})
    await client.chat(headers={"cache-control": "no-store", "idempotency-key": "1"})
    upstream.then(answer({"error": {"message": "no"}}, status=400))
    await client.chat("a bad question")
    upstream.then(*[drop()] * 3)
    await client.chat("nobody answers")
    await client.chat(model="unheard-of")
    assert await requests(gateway) == {
        ("qwen-small", "miss", "2xx"): 1,
        ("qwen-small", "exact", "2xx"): 2,
        ("qwen-small", "bypass", "2xx"): 1,
        ("qwen-small", "replayed", "2xx"): 1,
        ("qwen-small", "unmetered", "4xx"): 1,
        ("qwen-small", "refused", "5xx"): 1,
        ("", "refused", "4xx"): 1,
    }
    assert await one(gateway, "refusals_total", code="model_not_found") == 1
    assert await one(gateway, "request_duration_seconds_count", outcome="exact") == 2
    assert await one(gateway, "added_duration_seconds_count") == 2
    assert await one(gateway, "upstream_duration_seconds_count", upstream="qwen-small-server") == 3
    failures = [value for (name, _), value in (await scraped(gateway)).items() if "upstream_failures" in name]
    assert sum(failures) >= 1


async def test_the_first_byte_of_a_streamed_miss_is_timed(
    gateway: tuple[Gateway, str], client: Client, upstream: FakeUpstream
) -> None:
    upstream.then(stream(*chat_events(), pause_seconds=0.05))
    await client.chat(stream=True)
    await client.chat(stream=True)
    assert await one(gateway, "time_to_first_token_seconds_count") == 1
    assert await one(gateway, "time_to_first_token_seconds_sum") < 0.25
    assert await one(gateway, "request_duration_seconds_sum", outcome="miss") > 0.25


async def test_followers_and_streams_are_seen_while_they_last(
    gateway: tuple[Gateway, str], client: Client, upstream: FakeUpstream
) -> None:
    upstream.then(stream(*chat_events(), pause_seconds=0.2))
    asking = [asyncio.create_task(client.chat(stream=True)) for _ in range(4)]

    async def under_way() -> bool:
        return (gateway[0].metrics.coalesced_followers, gateway[0].metrics.open_streams) == (3, 4)

    await eventually(under_way)
    await asyncio.gather(*asking)
    assert (gateway[0].metrics.coalesced_followers, gateway[0].metrics.open_streams) == (0, 0)
    assert await requests(gateway) == {
        ("qwen-small", "miss", "2xx"): 1,
        ("qwen-small", "coalesced", "2xx"): 3,
    }


async def test_a_client_that_hung_up_is_counted(
    gateway: tuple[Gateway, str], client: Client, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=0.6))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await client.chat()

    async def counted() -> Any:
        return await one(gateway, "client_disconnects_total")

    assert await eventually(counted) == 1


async def test_who_is_gone_before_the_request_is_whole_is_counted(gateway: tuple[Gateway, str]) -> None:
    host, port = gateway[1].removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    async def counted() -> Any:
        return sum((await requests(gateway)).values())

    assert await eventually(counted) == 1


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing"])
async def test_what_is_not_metered_is_not_counted(
    gateway: tuple[Gateway, str], client: Client, path: str
) -> None:
    with contextlib.suppress(aiohttp.ClientError):
        await client.get(path)
    assert await requests(gateway) == {}
