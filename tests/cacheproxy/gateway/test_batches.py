"""Batches: only what the cache does not have goes upstream, once each; two events, in order restored."""

import asyncio

import msgspec
import pytest

from tests.cacheproxy.gateway.world import Answer, Client, World
from tests.fakes.upstream import Behaviour, FakeUpstream, Received, answer

CACHED = {"cache-control": "only-if-cached"}


def vectors_for(*texts: str, tokens: int) -> Behaviour:
    """Answer as an embedder does whose vector is the length of the text."""
    data = [
        {"object": "embedding", "index": place, "embedding": [float(len(text)), 0.5]}
        for place, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer({"object": "list", "data": data, "model": "embedder", "usage": usage})


async def embed(client: Client, *texts: str, **headers: str) -> Answer:
    return await client.post("/v1/embeddings", {"model": "embedder", "input": list(texts)}, headers)


def lengths(given: Answer) -> list[float]:
    assert given.status == 200, given.body
    assert [item["index"] for item in given.document["data"]] == list(range(len(given.document["data"])))
    return [item["embedding"][0] for item in given.document["data"]]


def asked(call: Received) -> list[str]:
    given = call.document["input"]
    return given if isinstance(given, list) else [given]


async def test_only_the_missing_items_go_upstream(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(vectors_for("a", "bb", tokens=6), vectors_for("ccc", "dddd", tokens=14))
    first = await embed(client, "a", "bb")
    second = await embed(client, "ccc", "bb", "dddd", "a", "ccc")

    assert lengths(first) == [1, 2]
    assert lengths(second) == [3, 2, 4, 1, 3]
    assert [asked(call) for call in upstream.received] == [["a", "bb"], ["ccc", "dddd"]]
    assert second.headers["cache-status"] == "zerorate; fwd=partial; stored; detail=hits-3-of-5"

    whole, miss, hit = await world.events()
    assert (whole["outcome"], whole["input"]) == ("miss", 6)
    if miss["outcome"] == "exact":
        miss, hit = hit, miss
    assert (miss["outcome"], miss["input"], hit["outcome"]) == ("miss", 14, "exact")
    assert miss["request_id"] == hit["request_id"] == miss["event_id"] != hit["event_id"]
    repeated = (
        14 - 8
    )  # "ccc" weighs 1 of 2 tokens, "dddd" the other: what is repeated served its own part again
    assert hit["input"] == 6 + 14 // 2 or hit["input"] == 6 + repeated
    assert second.document["usage"]["prompt_tokens"] == miss["input"] + hit["input"]
    sources = msgspec.json.decode(hit["raw_usage"])
    assert sources["items"] == 3
    assert set(sources["sources"]) == {str(whole["event_id"]), str(miss["event_id"])}


async def test_a_batch_that_is_all_known_asks_nobody(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(vectors_for("a", "bb", tokens=6))
    first = await embed(client, "a", "bb")
    again = await embed(client, "bb", "a")

    assert lengths(again) == [2, 1]
    assert again.headers["cache-status"].startswith("zerorate; hit; ttl=")
    assert again.headers["cache-status"].endswith("; detail=exact")
    assert again.headers["x-zerorate-source"] == first.headers["x-request-id"]
    assert int(again.headers["age"]) >= 0
    assert len(upstream.received) == 1
    assert [(event["outcome"], event["input"]) for event in await world.events()] == [
        ("miss", 6),
        ("exact", 6),
    ]


async def test_only_if_cached_wants_every_item_of_a_batch(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(vectors_for("a", "bb", tokens=6))
    await embed(client, "a", "bb")
    known = await embed(client, "bb", "a", **CACHED)
    refused = await embed(client, "bb", "ccc", **CACHED)
    uncached = await embed(client, "bb", "a", **{"cache-control": "no-store, only-if-cached"})

    assert lengths(known) == [2, 1]
    assert known.headers["cache-status"].endswith("; detail=exact")
    assert [(given.status, given.code) for given in (refused, uncached)] == [(504, "not_cached")] * 2
    assert len(upstream.received) == 1
    assert [event["outcome"] for event in await world.events()] == ["miss", "exact"]


async def test_an_item_alone_and_in_a_list_share_a_key(client: Client, upstream: FakeUpstream) -> None:
    upstream.then(vectors_for("a", tokens=2))
    await client.post("/v1/embeddings", {"model": "embedder", "input": "a"})
    assert lengths(await embed(client, "a")) == [1]
    assert len(upstream.received) == 1


@pytest.mark.parametrize(("count", "tokens"), [(3, 10), (7, 3), (5, 0)])
async def test_the_parts_add_up_to_what_was_reported(
    client: Client, upstream: FakeUpstream, world: World, count: int, tokens: int
) -> None:
    texts = [f"text number {number}" for number in range(count)]
    upstream.then(vectors_for(*texts, tokens=tokens))
    await embed(client, *texts)
    for text in texts:
        await embed(client, text)
    miss, *hits = await world.events()
    assert sum(hit["input"] for hit in hits) == miss["input"]


async def test_an_answer_without_a_part_for_each_item_is_no_answer(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(vectors_for("a", tokens=2))
    refused = await embed(client, "a", "bb")
    assert (refused.status, refused.code) == (502, "upstream_broken")
    assert await world.events() == []


async def test_a_refusal_passes(client: Client, upstream: FakeUpstream, world: World) -> None:
    upstream.then(answer({"error": {"message": "too long"}}, status=400))
    refused = await embed(client, "a", "bb")
    assert (refused.status, refused.document["error"]["message"]) == (400, "too long")
    assert await world.events() == []


async def test_no_cache_asks_for_all_and_refreshes(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(vectors_for("a", "bb", tokens=6), vectors_for("xxxxx", "yyyyyy", tokens=6))
    await embed(client, "a", "bb")
    await embed(client, "a", "bb", **{"cache-control": "no-cache"})
    assert lengths(await embed(client, "a", "bb")) == [5, 6]
    assert [event["outcome"] for event in await world.events()] == ["miss", "bypass", "exact"]


async def test_a_predict_batch_is_named_by_its_policy(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    await world.sql.execute(
        """UPDATE cacheproxy_servedmodel SET cache = '{"batch": "/pages"}' WHERE name = 'ocr'"""
    )
    await asyncio.sleep(0.3)
    upstream.then(
        answer({"texts": ["A", "B"], "usage": {"input_tokens": 4, "output_tokens": 2}}),
        answer({"texts": ["C"], "usage": {"input_tokens": 2, "output_tokens": 1}}),
    )
    first = await client.post("/v1/predict/ocr", {"pages": ["a", "b"], "lang": "en"})
    second = await client.post("/v1/predict/ocr", {"pages": ["b", "c", "a"], "lang": "en"})
    assert first.document["texts"] == ["A", "B"]
    assert second.document["texts"] == ["B", "C", "A"], second.body
    assert upstream.received[1].document == {"pages": ["c"], "lang": "en"}
    assert sorted(event["outcome"] for event in await world.events()) == ["exact", "miss", "miss"]
