"""Single flight: N identical calls under way make one upstream call, in one process and between two."""

import asyncio
import collections
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.test_streaming import text_of
from tests.cacheproxy.gateway.world import Answer, Client, World, eventually, serving
from tests.fakes.upstream import (
    FakeUpstream,
    answer,
    chat_answer,
    chat_events,
    drop,
    stream,
)

DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def neighbour(
    gateway_settings: GatewaySettings, session: aiohttp.ClientSession, gateway: object, cast: Cast
) -> AsyncIterator[Client]:
    """Give acme's program at a second gateway, with a memory and connections of its own."""
    async with serving(gateway_settings) as (_, url):
        yield Client(session, url, cast.acme.key)


async def outcomes(world: World) -> dict[str, int]:
    return collections.Counter(event["outcome"] for event in await world.events())


async def check_coalesced(world: World, answers: list[Answer]) -> None:
    """All were answered alike, one was a miss, the others name it and cost nothing computed."""
    assert {given.status for given in answers} == {200}
    events = await world.events()
    assert len({event["event_id"] for event in events}) == len(events) == len(answers)
    (miss,) = [event for event in events if event["outcome"] == "miss"]
    hits = [event for event in events if event["outcome"] in {"coalesced", "exact"}]
    assert len(hits) == len(answers) - 1
    assert {hit["source_event"] for hit in hits} == {miss["event_id"]}
    assert {(hit["input"], hit["output"]) for hit in hits} == {(miss["input"], miss["output"])}


async def test_identical_calls_make_one_upstream_call(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=0.2))
    answers = await asyncio.gather(*(client.chat() for _ in range(20)))

    assert len(upstream.received) == 1
    await check_coalesced(world, answers)
    assert (await outcomes(world))["coalesced"] == 19
    followers = [given for given in answers if "fwd=miss" not in given.headers["cache-status"]]
    leader = next(given for given in answers if given not in followers)
    for given in followers:
        assert given.headers["cache-status"].endswith("detail=coalesced")
        assert given.headers["x-zerorate-source"] == leader.headers["x-request-id"]
        assert given.headers["x-zerorate-cost"] == "0 USD"
        assert given.document == leader.document


async def test_over_two_gateways_too(
    client: Client, neighbour: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(answer(chat_answer(), delay_seconds=0.4))
    answers = await asyncio.gather(*(who.chat() for who in (client, neighbour) * 100))

    assert len(upstream.received) == 1
    await check_coalesced(world, answers)


@pytest.mark.parametrize("ends", [(True, False), (False, True), (True, True)])
async def test_streams_and_plain_calls_share(
    client: Client, neighbour: Client, upstream: FakeUpstream, world: World, ends: tuple[bool, bool]
) -> None:
    slow = stream(*chat_events(), pause_seconds=0.05) if ends[0] else answer(chat_answer(), delay_seconds=0.3)
    upstream.then(slow)
    first = asyncio.create_task(client.chat(stream=ends[0]))
    await eventually(lambda: _true_if(bool(upstream.received)))
    others = [who.chat(stream=ends[1]) for who in (client, neighbour, client, neighbour)]
    answers = [*await asyncio.gather(*others), await first]

    assert len(upstream.received) == 1
    await check_coalesced(world, answers)
    for given, streamed in zip(answers, [ends[1]] * 4 + [ends[0]], strict=True):
        if streamed:
            assert text_of(given.body) == "Hello there."
            assert given.body.endswith(DONE)
            assert b'"usage"' not in given.body
        else:
            assert given.document["choices"][0]["message"]["content"] == "Hello there."


async def test_a_stream_fans_out_as_it_comes(
    client: Client, neighbour: Client, upstream: FakeUpstream, session: aiohttp.ClientSession
) -> None:
    """Whoever joins late gets what was missed at once, and the rest when it comes."""
    upstream.then(stream(*chat_events("abcdefghij"), pause_seconds=0.15))
    leader = asyncio.create_task(client.chat(stream=True))
    await asyncio.sleep(0.4)

    async def late(who: Client) -> None:
        joined = asyncio.get_running_loop().time()
        async with session.post(
            who.url + "/v1/chat/completions",
            json={"model": "qwen-small", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
            headers={"authorization": f"Bearer {who.key}"},
        ) as response:
            first = await response.content.readany()
            waited = asyncio.get_running_loop().time() - joined
            whole = first + await response.content.read()
        assert response.headers["cache-status"] == "zerorate; hit; detail=coalesced"
        assert waited < 0.3
        assert b"[DONE]" not in first
        assert text_of(whole) == "abcdefghij"

    await asyncio.gather(late(client), late(neighbour))
    assert text_of((await leader).body) == "abcdefghij"
    assert len(upstream.received) == 1


async def test_a_failed_leader_promotes_one_who_listened(
    client: Client, neighbour: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(drop(), answer(chat_answer(), delay_seconds=0.1))
    answers = await asyncio.gather(*(who.chat() for who in (client, neighbour) * 5))

    assert sorted(given.status for given in answers)[-2:] == [200, 502]
    assert len(upstream.received) == 2
    assert (await outcomes(world))["miss"] == 1


async def test_a_request_that_the_upstream_refuses_is_refused_to_all_at_once(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(answer({"error": {"message": "no such tool"}}, status=400, delay_seconds=0.2))
    answers = await asyncio.gather(*(client.chat() for _ in range(5)))

    assert [given.status for given in answers] == [400] * 5
    assert len(upstream.received) == 1
    assert await world.events() == []


async def test_an_upstream_that_is_down_is_not_asked_by_everybody(
    client: Client, upstream: FakeUpstream
) -> None:
    failure = answer({"error": {"message": "broken"}}, status=500, delay_seconds=0.1)
    upstream.then(*[failure] * 50)
    answers = await asyncio.gather(*(client.chat() for _ in range(30)))

    assert {given.status for given in answers} == {500}
    assert len(upstream.received) <= 4


async def test_what_cannot_be_priced_is_not_shared(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    nonsense = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}}
    upstream.then(*[answer(chat_answer(usage=nonsense), delay_seconds=0.1)] * 3)
    answers = await asyncio.gather(*(client.chat() for _ in range(3)))

    assert {given.status for given in answers} == {200}
    assert len(upstream.received) == 3
    assert {event["quality"] for event in await world.events()} == {"suspect"}


async def test_strangers_never_share(
    client: Client, stranger: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(*[answer(chat_answer(), delay_seconds=0.1)] * 2)
    await asyncio.gather(client.chat(), stranger.chat())
    assert len(upstream.received) == 2
    assert await outcomes(world) == {"miss": 2}


@pytest.mark.parametrize("control", ["no-cache", "no-store"])
async def test_who_wants_an_answer_of_its_own_gets_it(
    client: Client, upstream: FakeUpstream, world: World, control: str
) -> None:
    upstream.then(*[answer(chat_answer(), delay_seconds=0.1)] * 2)
    await asyncio.gather(client.chat(), client.chat(headers={"cache-control": control}))
    assert await outcomes(world) == {"miss": 1, "bypass": 1}


async def test_a_model_may_have_it_off(client: Client, upstream: FakeUpstream, world: World) -> None:
    await world.sql.execute("""UPDATE cacheproxy_servedmodel SET cache = '{"coalesce": false}'""")
    await asyncio.sleep(0.2)
    upstream.then(*[answer(chat_answer(), delay_seconds=0.1)] * 2)
    await asyncio.gather(client.chat(), client.chat())
    assert await outcomes(world) == {"miss": 2}


async def test_the_leaders_client_may_go(client: Client, upstream: FakeUpstream, world: World) -> None:
    upstream.then(stream(*chat_events(), pause_seconds=0.1))
    leader = asyncio.create_task(client.chat(stream=True))
    await eventually(lambda: _true_if(bool(upstream.received)))
    follower = asyncio.create_task(client.chat(stream=True))
    await asyncio.sleep(0.15)
    leader.cancel()

    assert text_of((await follower).body) == "Hello there."
    assert len(upstream.received) == 1
    assert await outcomes(world) == {"miss": 1, "coalesced": 1}


async def test_a_stream_that_breaks_ends_for_all_with_an_error_and_an_event(
    client: Client, neighbour: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(stream(*chat_events()[:3], pause_seconds=0.2, whole=False))
    first = asyncio.create_task(client.chat(stream=True))
    await eventually(lambda: _true_if(bool(upstream.received)))
    answers = await asyncio.gather(first, client.chat(stream=True), neighbour.chat(stream=True))

    for given in answers:
        assert b'"upstream_broken"' in given.body
        assert DONE not in given.body
    assert len(upstream.received) == 1
    assert await outcomes(world) == {"miss": 1, "coalesced": 2}
    assert {event["quality"] for event in await world.events()} == {"estimated"}


async def test_nothing_is_left_behind(
    client: Client, gateway: tuple[Gateway, str], upstream: FakeUpstream, redis: Any
) -> None:
    upstream.then(drop(), answer(chat_answer(), delay_seconds=0.1))
    await asyncio.gather(*(client.chat() for _ in range(5)))

    async def no_lease() -> bool:
        return not [key async for key in redis.scan_iter("zerorate:flight:*")]

    await eventually(no_lease)


async def test_without_redis_each_gateway_works_for_itself(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
) -> None:
    settings = msgspec.structs.replace(gateway_settings, redis_url=None)
    upstream.then(*[answer(chat_answer(), delay_seconds=0.2)] * 2)
    async with serving(settings) as (_, one), serving(settings) as (_, other):
        clients = [Client(session, url, cast.acme.key) for url in (one, other)]
        await asyncio.gather(*(who.chat() for who in clients * 5))
    assert len(upstream.received) == 2
    assert await outcomes(world) == {"miss": 2, "coalesced": 8}


async def test_200_calls_over_two_processes_survive_the_leaders_death(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
) -> None:
    """The leader is killed with -9 while the upstream works: the other process's calls are answered, each once."""
    processes = [GatewayProcess(gateway_settings, _free_port()) for _ in range(2)]
    try:
        await asyncio.gather(*(process.start() for process in processes))
        doomed, survivor = (Client(session, process.url, cast.acme.key) for process in processes)
        upstream.then(answer(chat_answer(), delay_seconds=30), answer(chat_answer(), delay_seconds=0.2))
        leader = asyncio.create_task(doomed.chat())
        await eventually(lambda: _true_if(bool(upstream.received)))
        calls = [asyncio.create_task(survivor.chat()) for _ in range(199)]
        await asyncio.sleep(1.0)
        assert len(upstream.received) == 1, "they follow the leader in the other process"
        await processes[0].kill()
        answers = await asyncio.gather(*calls)
        with pytest.raises(aiohttp.ClientError):
            await leader
    finally:
        await asyncio.gather(*(process.kill() for process in processes))

    assert len(upstream.received) == 2
    await check_coalesced(world, answers)


async def _true_if(condition: bool) -> bool:
    return condition


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
