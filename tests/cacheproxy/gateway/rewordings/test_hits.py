"""A question in other words gets the answer that was kept for it, at its own price."""

import json
from typing import Any

from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, TRAP, remembered
from tests.cacheproxy.gateway.world import Client, World
from tests.fakes.upstream import FakeUpstream, answer, chat_answer


async def test_a_rewording_is_a_hit_at_the_price_of_one(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    miss = await client.chat(ASKED)
    await remembered(world)
    hit = await client.chat(REWORDED)
    assert hit.status == 200
    assert hit.body == miss.body
    assert len(upstream.received) == 1
    assert hit.headers["cache-status"].startswith("zerorate; hit; ttl=")
    assert hit.headers["cache-status"].endswith("; detail=semantic")
    assert hit.headers["age"] == "0"
    assert hit.headers["x-zerorate-source"] == miss.headers["x-request-id"]
    assert 0.9 < float(hit.headers["x-zerorate-similarity"]) < 1
    assert hit.headers["x-zerorate-list-cost"] == "0.0000135 USD"
    assert hit.headers["x-zerorate-cost"] == "0.0000027 USD"
    assert hit.headers["x-zerorate-saved"] == "0.0000108 USD"

    paid, shared = await world.events()
    assert (paid["outcome"], shared["outcome"]) == ("miss", "semantic")
    assert shared["source_event"] == paid["event_id"]
    assert round(shared["similarity"], 4) == float(hit.headers["x-zerorate-similarity"])
    assert (shared["input"], shared["output"], shared["quality"]) == (12, 5, "reported")
    assert shared["upstream_latency_us"] is None
    assert shared["raw_usage"] is None
    assert paid["similarity"] is None


async def test_the_same_words_are_an_exact_hit_and_a_semantic_one_never_becomes_one(
    client: Client, world: World
) -> None:
    for text in (ASKED, ASKED):
        await client.chat(text)
    await remembered(world)
    for text in (REWORDED, REWORDED, ASKED):
        await client.chat(text)
    outcomes = [event["outcome"] for event in await world.events()]
    assert outcomes == ["miss", "exact", "semantic", "semantic", "exact"]


async def test_a_trap_asks_the_upstream(client: Client, world: World, upstream: FakeUpstream) -> None:
    await client.chat(ASKED)
    await remembered(world)
    upstream.then(answer(chat_answer("Both at once, at the counter.")))
    trapped = await client.chat(TRAP)
    assert trapped.document["choices"][0]["message"]["content"] == "Both at once, at the counter."
    assert trapped.headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert "x-zerorate-similarity" not in trapped.headers


async def test_all_but_the_last_turn_must_be_the_same(client: Client, world: World) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"},
             {"role": "assistant", "content": "Hello!"}]  # fmt: skip
    asked, reworded = ({"role": "user", "content": text} for text in (ASKED, REWORDED))
    await client.chat(messages=[*turns, asked])
    await remembered(world)
    others: list[dict[str, Any]] = [
        {"messages": [*turns[:1], reworded]},
        {"messages": [{"role": "system", "content": "Be long."}, *turns[1:], reworded]},
        {"messages": [*turns, reworded], "temperature": 0.3},
        {"messages": [*turns, {"role": "user", "content": [{"type": "text", "text": REWORDED}]}]},
        {"messages": [*turns, {"role": "assistant", "content": REWORDED}]},
    ]
    for other in others:
        refused = await client.chat(**other)
        assert refused.headers["cache-status"] == "zerorate; fwd=miss; stored", other
    same = await client.chat(messages=[*turns, reworded])
    assert same.headers["cache-status"].endswith("detail=semantic")


async def test_a_model_without_the_policy_looks_for_the_same_words_only(client: Client, world: World) -> None:
    for text in (ASKED, REWORDED):
        answered = await client.chat(text, model="to-the-letter")
        assert answered.headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert await world.sql.fetchval("SELECT count(*) FROM cacheproxy_semanticentry") == 0


async def test_tenants_and_sessions_share_nothing(
    client: Client, stranger: Client, cast: Cast, world: World
) -> None:
    await client.chat(ASKED, model="in-session", headers={"x-zerorate-session": "anne"})
    await remembered(world)
    for who, session in ((client, "ben"), (stranger, "anne")):
        other = await who.chat(REWORDED, model="in-session", headers={"x-zerorate-session": session})
        assert other.headers["cache-status"] == "zerorate; fwd=miss; stored"
    nobody = await client.chat(REWORDED, model="in-session")
    assert nobody.headers["cache-status"] == "zerorate; fwd=bypass"
    same = await client.chat(REWORDED, model="in-session", headers={"x-zerorate-session": "anne"})
    assert same.headers["cache-status"].endswith("detail=semantic")
    await remembered(world, 3)
    owners = {row["tenant_id"] for row in await world.sql.fetch("SELECT * FROM cacheproxy_semanticentry")}
    assert owners == {cast.acme.id, cast.stranger.id}


async def test_a_stream_is_given_a_plain_answer_and_the_reverse(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    streamed = await client.chat(REWORDED, stream=True)
    assert streamed.headers["content-type"] == "text/event-stream"
    assert streamed.headers["cache-status"].endswith("detail=semantic")
    words = [json.loads(line[6:]) for line in streamed.body.splitlines() if line.startswith(b"data: {")]
    assert (
        "".join(w["choices"][0]["delta"].get("content") or "" for w in words if w["choices"])
        == "Hello there."
    )

    await client.chat("Where is the lost property office?", stream=True)
    await remembered(world, 2)
    plain = await client.chat("Where's the lost property office?")
    assert plain.headers["cache-status"].endswith("detail=semantic")
    assert plain.document["choices"][0]["message"]["content"] == "Hello there."
    assert len(upstream.received) == 2
