"""Idempotency-Key: one call, one event, one answer, whatever dies in between."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
import redis as blocking_redis
from openai import OpenAI

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, chat_events, drop, stream

KEY = {"idempotency-key": "order 66"}
UNCACHED = {**KEY, "cache-control": "no-store"}


async def test_a_repetition_gets_the_first_answer_and_makes_no_event(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    first = await client.chat(headers=UNCACHED)
    upstream.then(answer(chat_answer("Something else.")))
    again = await client.chat(headers=UNCACHED)
    assert (first.status, "idempotent-replayed" in first.headers) == (200, False)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.body == first.body
    for name in ("x-request-id", "content-type", "cache-status", "x-zerorate-cost"):
        assert again.headers[name] == first.headers[name]
    assert len(upstream.received) == 1
    assert [str(event["request_id"]) for event in await world.events()] == [first.headers["x-request-id"]]


async def test_a_hit_is_replayed_as_well(client: Client, world: World) -> None:
    await client.chat()
    hit, again = await client.chat(headers=KEY), await client.chat(headers=KEY)
    assert again.headers["x-request-id"] == hit.headers["x-request-id"]
    assert [event["outcome"] for event in await world.events()] == ["miss", "exact"]


async def test_a_stream_comes_again_as_a_stream(client: Client, world: World) -> None:
    first = await client.chat(headers=UNCACHED, stream=True)
    again = await client.chat(headers=UNCACHED, stream=True)
    assert first.body.endswith(b"data: [DONE]\n\n")
    assert again.body == first.body
    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await world.events()) == 1


async def test_another_body_or_path_is_refused(client: Client, world: World) -> None:
    await client.chat(headers=KEY)
    document = {"model": "embedder", "input": "Hi"}
    for refused in (await client.chat("Ho", KEY), await client.post("/v1/embeddings", document, KEY)):
        assert (refused.status, refused.code) == (409, "idempotency_key_reused")
        assert refused.headers["x-should-retry"] == "false"
    assert len(await world.events()) == 1


async def test_a_strangers_key_of_the_same_name_is_another(
    client: Client, stranger: Client, world: World
) -> None:
    mine, theirs = await client.chat(headers=KEY), await stranger.chat("Other words", KEY)
    assert (mine.status, theirs.status) == (200, 200)
    assert mine.headers["x-request-id"] != theirs.headers["x-request-id"]
    assert len(await world.events()) == 2


async def test_each_api_key_has_keys_of_its_own(client: Client, cast: Cast, world: World) -> None:
    _, key = await world.add_key(cast.acme.id)
    other = Client(client.session, client.url, key)
    assert (await client.chat(headers=KEY)).status == 200
    assert (await other.chat("Other words", KEY)).status == 200


async def test_of_many_at_once_one_is_carried_out(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=0.3))
    answers = await asyncio.gather(*[client.chat(headers=UNCACHED) for _ in range(10)])
    refused = [given for given in answers if given.status != 200]
    assert len(refused) == 9
    for given in refused:
        assert (given.status, given.code) == (409, "idempotency_key_in_use")
        assert given.headers["retry-after"] == "1"
        assert "x-should-retry" not in given.headers
    assert (len(upstream.received), len(await world.events())) == (1, 1)


async def test_openais_client_comes_back_by_itself(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=0.5))

    def ask() -> str:
        with OpenAI(base_url=f"{client.url}/v1", api_key=client.key) as openai:
            completion = openai.chat.completions.create(
                model="qwen-small", messages=[{"role": "user", "content": "Hi"}], extra_headers=UNCACHED
            )
            return completion.id

    ids = await asyncio.gather(asyncio.to_thread(ask), asyncio.to_thread(ask))
    assert len(set(ids)) == 1
    assert len(await world.events()) == 1


@pytest.mark.parametrize("failure", [answer({"error": {"message": "no"}}, status=500), drop()])
async def test_a_failure_without_an_event_frees_the_key(
    client: Client, world: World, upstream: FakeUpstream, failure: Any
) -> None:
    upstream.then(failure, failure, failure, failure)
    assert (await client.chat(headers=KEY)).status >= 500
    upstream._script.clear()
    assert (await client.chat("A better question", KEY)).status == 200
    assert len(await world.events()) == 1


async def test_a_refusal_frees_the_key(client: Client) -> None:
    refused = await client.chat(headers={**KEY, "cache-control": "only-if-cached"})
    assert refused.status == 504
    assert (await client.chat("Other words", KEY)).status == 200


async def test_a_client_that_hung_up_gets_its_answer_by_asking_again(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    upstream.then(stream(*chat_events(), pause_seconds=0.1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            await client.chat(headers=UNCACHED, stream=True)

    async def answered() -> Any:
        again = await client.chat(headers=UNCACHED, stream=True)
        return again if again.status == 200 else None

    again = await eventually(answered, within_seconds=5)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.body.endswith(b"data: [DONE]\n\n")
    assert (len(upstream.received), len(await world.events())) == (1, 1)


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there", "naïve"])
async def test_a_key_that_is_none_is_refused(client: Client, key: str) -> None:
    refused = await client.chat(headers={"idempotency-key": key})
    assert (refused.status, refused.code) == (400, "invalid_header")


async def test_a_key_is_forgotten_after_its_time(gateway_settings: GatewaySettings, cast: Cast) -> None:
    short = msgspec.structs.replace(gateway_settings, idempotency_keep_seconds=1)
    async with serving(short) as (_, url), aiohttp.ClientSession() as session:
        client = Client(session, url, cast.acme.key)
        first = await client.chat(headers=KEY)
        await asyncio.sleep(1.1)
        second = await client.chat("Other words", KEY)
    assert (first.status, second.status) == (200, 200)


async def test_too_large_an_answer_is_not_kept_and_says_so(
    gateway_settings: GatewaySettings, cast: Cast, world: World
) -> None:
    small = msgspec.structs.replace(gateway_settings, max_idempotent_answer_bytes=10)
    async with serving(small) as (_, url), aiohttp.ClientSession() as session:
        client = Client(session, url, cast.acme.key)
        assert (await client.chat(headers=KEY)).status == 200
        again = await client.chat(headers=KEY)
    assert (again.status, again.code) == (409, "idempotent_answer_not_kept")
    assert again.headers["x-should-retry"] == "false"
    assert len(await world.events()) == 1


async def test_without_redis_nothing_is_promised(wires: Wires, cast: Cast, world: World) -> None:
    async with serving(wires.gateway_settings) as (_, url), aiohttp.ClientSession() as session:
        client = Client(session, url, cast.acme.key)
        wires.redis.cut()
        refused = await client.chat(headers=KEY)
        assert (refused.status, refused.code) == (503, "idempotency_unavailable")
        assert (await client.chat()).status == 200
    assert len(await world.events()) == 1


async def test_redis_lost_in_the_middle_costs_no_second_event(
    wires: Wires, cast: Cast, world: World, upstream: FakeUpstream
) -> None:
    quick = msgspec.structs.replace(wires.gateway_settings, idempotency_lease_seconds=0.3)
    async with serving(quick) as (_, url), aiohttp.ClientSession() as session:
        client = Client(session, url, cast.acme.key)
        upstream.then(answer(chat_answer("One."), delay_seconds=0.3), answer(chat_answer("Two, at length.")))
        asking = asyncio.create_task(client.chat(headers=UNCACHED))
        await eventually(lambda: _received(upstream, 1))
        wires.redis.cut()
        first = await asking
        wires.redis.mend()

        async def answered() -> Any:
            again = await client.chat(headers=UNCACHED)
            return again if again.status == 200 else None

        second = await eventually(answered, within_seconds=5)
    assert (first.status, first.document["choices"][0]["message"]["content"]) == (200, "One.")
    assert second.headers["x-request-id"] == first.headers["x-request-id"]
    assert len(await world.events()) == 1


async def test_a_slow_call_keeps_its_claim(
    gateway_settings: GatewaySettings, cast: Cast, upstream: FakeUpstream
) -> None:
    quick = msgspec.structs.replace(gateway_settings, idempotency_lease_seconds=0.2)
    async with serving(quick) as (_, url), aiohttp.ClientSession() as session:
        client = Client(session, url, cast.acme.key)
        upstream.then(answer(chat_answer(), delay_seconds=1))
        asking = asyncio.create_task(client.chat(headers=UNCACHED))
        await eventually(lambda: _received(upstream, 1))
        await asyncio.sleep(0.6)
        assert (await client.chat(headers=UNCACHED)).code == "idempotency_key_in_use"
        assert (await asking).status == 200
    assert len(upstream.received) == 1


async def _received(upstream: FakeUpstream, count: int) -> bool:
    return len(upstream.received) >= count


@pytest.fixture
async def process(gateway_settings: GatewaySettings, cast: Cast) -> AsyncIterator[GatewayProcess]:
    """Give a gateway in a process of its own that is patient with Redis, and soon given up when it dies."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    patient = msgspec.structs.replace(
        gateway_settings, idempotency_budget_seconds=30.0, idempotency_lease_seconds=0.5
    )
    process = GatewayProcess(patient, port)
    await process.start()
    yield process
    await process.stop()


@pytest.mark.parametrize("second", ["Hello there.", "Something else, and longer."])
async def test_killed_between_the_commit_and_the_claims_completion(
    process: GatewayProcess,
    gateway_settings: GatewaySettings,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    second: str,
) -> None:
    """The event is there, the answer never left: the retry gives one, and the ledger still holds one event."""
    words = len(second.split())
    usage = {"prompt_tokens": 12, "completion_tokens": words, "total_tokens": 12 + words}
    first_usage = {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14}
    upstream.then(
        answer(chat_answer(usage=first_usage), delay_seconds=0.5), answer(chat_answer(second, usage))
    )
    redis = blocking_redis.Redis.from_url(gateway_settings.redis_url or "")
    async with aiohttp.ClientSession() as session:
        client = Client(session, process.url, cast.acme.key)
        asking = asyncio.create_task(client.chat(headers=UNCACHED))
        await eventually(lambda: _received(upstream, 1))
        redis.client_pause(20_000, all=False)  # the completion hangs
        [event] = await eventually(world.events, within_seconds=5)
        assert not asking.done()
        await process.kill()
        redis.client_unpause()
        with pytest.raises(aiohttp.ClientError):
            await asking
        await process.start()

        async def answered() -> Any:
            again = await client.chat(headers=UNCACHED)
            assert again.status == 200 or again.code == "idempotency_key_in_use"
            return again if again.status == 200 else None

        given = await eventually(answered, within_seconds=10)
        replayed = await client.chat(headers=UNCACHED)
    redis.close()
    assert given.document["choices"][0]["message"]["content"] == second
    assert "idempotent-replayed" not in given.headers
    assert given.headers["x-request-id"] == str(event["event_id"])
    assert (replayed.body, replayed.headers["idempotent-replayed"]) == (given.body, "true")
    assert await world.events() == [event]
    assert (event["quality"], event["output"]) == ("reported", 2)
    conflicts = await world.sql.fetchval("SELECT count(*) FROM metering_usageconflict")
    assert conflicts == (0 if second == "Hello there." else 1)


async def test_killed_before_the_commit(
    process: GatewayProcess, cast: Cast, world: World, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=30))
    async with aiohttp.ClientSession() as session:
        client = Client(session, process.url, cast.acme.key)
        asking = asyncio.create_task(client.chat(headers=UNCACHED))
        await eventually(lambda: _received(upstream, 1))
        await process.kill()
        with pytest.raises(aiohttp.ClientError):
            await asking
        await process.start()

        async def answered() -> bool:
            return (await client.chat(headers=UNCACHED)).status == 200

        await eventually(answered, within_seconds=10)
    assert len(await world.events()) == 1


async def test_calls_without_the_header_ask_redis_for_nothing(
    gateway: tuple[Gateway, str], client: Client
) -> None:
    gateway[0]._idempotency._link = None
    assert (await client.chat()).status == 200
