"""What must not be kept is not, in any tier; who asks gets it all the same."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.policies.conftest import Under
from tests.cacheproxy.gateway.test_streaming import text_of
from tests.cacheproxy.gateway.world import Answer, Client, World, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer, chat_events, stream

MOBILE = "13800138000"
CARD = "4111 1111 1111 1111"
NO_STORE = {"sensitive": {"detect": ["card", "phone"], "patterns": {"staff": r"EMP-\d{6}"}}}
MASK = {"sensitive": {"detect": ["card", "phone"], "action": "mask"}}


def said(given: Answer) -> str:
    text: str = given.document["choices"][0]["message"]["content"]
    return text


async def in_redis(settings: GatewaySettings) -> bytes:
    """Return all that Redis holds, in one piece."""
    assert settings.redis_url is not None
    async with Redis.from_url(settings.redis_url) as redis:
        values = [await redis.dump(key) or b"" async for key in redis.scan_iter()]
    return b"\n".join(values)


@pytest.mark.parametrize(
    "text", [f"Charge {CARD}", f"打电话给{MOBILE}", "I am EMP-123456", "x " * 20_000 + MOBILE]
)
async def test_a_request_that_says_it_is_neither_kept_nor_shared(
    text: str, under: Under, upstream: FakeUpstream, world: World
) -> None:
    async with under(**NO_STORE) as client:
        upstream.then(*[answer(chat_answer(), delay_seconds=0.1)] * 3)
        answers = [*await asyncio.gather(client.chat(text), client.chat(text)), await client.chat(text)]

    assert {given.headers["cache-status"] for given in answers} == {"zerorate; fwd=bypass"}
    assert len(upstream.received) == 3
    assert {event["outcome"] for event in await world.events()} == {"bypass"}


async def test_an_answer_that_says_it_is_not_kept(
    under: Under, upstream: FakeUpstream, gateway_settings: GatewaySettings
) -> None:
    async with under(**NO_STORE) as client:
        upstream.then(*[answer(chat_answer(f"Call {MOBILE}."))] * 2, answer(chat_answer("Nobody knows.")))
        answers = [await client.chat("Who?") for _ in range(4)]
        assert MOBILE.encode() not in await in_redis(gateway_settings)

    assert [said(given) for given in answers] == [f"Call {MOBILE}."] * 2 + ["Nobody knows."] * 2
    assert [given.headers["cache-status"].split("; ttl")[0] for given in answers] == [
        "zerorate; fwd=miss",
        "zerorate; fwd=miss",
        "zerorate; fwd=miss; stored",
        "zerorate; hit",
    ]


async def test_who_waited_for_such_an_answer_asks_alone(
    under: Under, upstream: FakeUpstream, world: World
) -> None:
    async with under(**NO_STORE) as client:
        upstream.then(*[answer(chat_answer(f"Call {MOBILE}."), delay_seconds=0.1)] * 3)
        answers = await asyncio.gather(*(client.chat("Who?") for _ in range(3)))

    assert {said(given) for given in answers} == {f"Call {MOBILE}."}
    assert [event["outcome"] for event in await world.events()] == ["miss"] * 3


async def test_a_stream_is_not_shared_as_it_comes_and_kept_only_if_it_may_be(
    under: Under, upstream: FakeUpstream
) -> None:
    async with under(**NO_STORE) as client:
        slowly = stream(*chat_events(["Call ", MOBILE, "."]), pause_seconds=0.02)
        upstream.then(slowly, slowly, stream(*chat_events(["Nobody."])))
        both = await asyncio.gather(client.chat("Who?", stream=True), client.chat("Who?", stream=True))
        third = await client.chat("Who?", stream=True)
        hit = await client.chat("Who?", stream=True)

    assert [text_of(given.body) for given in (*both, third, hit)] == [f"Call {MOBILE}."] * 2 + ["Nobody."] * 2
    assert len(upstream.received) == 3
    assert "; hit;" in hit.headers["cache-status"]


async def test_a_masked_answer_is_whole_for_who_asked_and_masked_for_the_rest(
    under: Under,
    upstream: FakeUpstream,
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    world: World,
) -> None:
    async with under(**MASK) as client:
        upstream.then(answer(chat_answer(f"Call {MOBILE}, pay {CARD}.")))
        miss = await client.chat("Who?")
        hits = [await client.chat("Who?"), await client.chat("Who?", stream=True)]
        assert MOBILE.encode() not in await in_redis(gateway_settings)
        async with serving(gateway_settings) as (_, url):
            hits.append(await Client(session, url, client.key).chat("Who?"))

    masked = "Call [phone], pay [card]."
    assert said(miss) == f"Call {MOBILE}, pay {CARD}."
    assert "x-zerorate-masked" not in miss.headers
    assert [said(hits[0]), text_of(hits[1].body), said(hits[2])] == [masked] * 3
    assert {hit.headers["x-zerorate-masked"] for hit in hits} == {"card, phone"}
    events = await world.events()
    assert [event["outcome"] for event in events] == ["miss", "exact", "exact", "exact"]
    assert len(upstream.received) == 1


async def test_what_cannot_be_masked_is_not_kept(under: Under, upstream: FakeUpstream) -> None:
    async with under(**MASK) as client:
        upstream.then(answer({**chat_answer(), "card": 4111111111111111}))
        first, second = await client.chat(), await client.chat()
    assert [given.headers["cache-status"] for given in (first, second)] == [
        "zerorate; fwd=miss",
        "zerorate; fwd=miss; stored",
    ]


async def test_under_a_mask_what_requests_say_does_not_matter(under: Under, upstream: FakeUpstream) -> None:
    async with under(**MASK) as client:
        await client.chat(MOBILE)
        hit = await client.chat(MOBILE)
    assert "; hit;" in hit.headers["cache-status"]


async def test_answers_kept_before_a_policy_are_not_given_under_it(
    under: Under, upstream: FakeUpstream
) -> None:
    upstream.then(answer(chat_answer(f"Call {MOBILE}.")))
    async with under() as client:
        await client.chat("Who?")
    async with under(**MASK) as client:
        assert said(await client.chat("Who?")) == "Hello there."


async def test_fields_of_an_answer_are_blotted_out(under: Under, upstream: FakeUpstream) -> None:
    card = {"name": "张三", "number": "11010519491231002X", "sex": "M"}
    upstream.then(answer({"pages": [card], "usage": {"input_tokens": 7, "output_tokens": 3}}))
    policy: dict[str, Any] = {"action": "mask", "fields": ["/pages/*/name", "/pages/*/number"]}
    async with under("ocr", sensitive=policy) as client:
        answers = [await client.post("/v1/predict/ocr", {"image": "a"}) for _ in range(2)]
    assert answers[0].document["pages"] == [card]
    assert answers[1].document["pages"] == [{"name": "[field]", "number": "[field]", "sex": "M"}]


async def test_a_batch_with_it_is_given_and_not_kept(under: Under, upstream: FakeUpstream) -> None:
    def predicted(*texts: str) -> Any:
        return answer([{"text": text} for text in texts])

    upstream.then(predicted(MOBILE, "fine"), predicted("fine", "good"))
    async with under("ocr", batch="/items", **NO_STORE) as client:
        first = await client.post("/v1/predict/ocr", {"items": ["a", "b"]})
        second = await client.post("/v1/predict/ocr", {"items": ["b", "c"]})
        third = await client.post("/v1/predict/ocr", {"items": ["c", "b"]})

    assert json.loads(first.body) == [{"text": MOBILE}, {"text": "fine"}]
    assert [given.headers["cache-status"].split("; ttl")[0] for given in (first, second, third)] == [
        "zerorate; fwd=miss",
        "zerorate; fwd=miss; stored",
        "zerorate; hit",
    ]
