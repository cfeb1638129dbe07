"""Other surfaces, encoders, limits and screens."""

import asyncio
import json
from typing import Any

import pytest

from cacheproxy.gateway.asgi import Gateway
from tests.cacheproxy.gateway.rewordings.conftest import TRUSTED
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, findings, remembered
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import USAGE, FakeUpstream, answer

MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "small", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "At the counter."}], "usage": {"input_tokens": 9, "output_tokens": 4},
}  # fmt: skip
RESPONSE = {
    "id": "resp_1", "object": "response", "status": "completed", "model": "small",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "At the counter."}]}],
    "usage": {"input_tokens": 9, "output_tokens": 4},
}  # fmt: skip


async def test_messages(client: Client, world: World, upstream: FakeUpstream) -> None:
    def asking(text: str) -> dict[str, Any]:
        content = [{"type": "text", "text": text}]
        return {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}

    upstream.then(answer(MESSAGE))
    await client.post("/v1/messages", asking(ASKED))
    await remembered(world)
    hit = await client.post("/v1/messages", asking(REWORDED))
    assert hit.headers["cache-status"].endswith("detail=semantic")
    assert hit.document["content"] == MESSAGE["content"]
    streamed = await client.post("/v1/messages", {**asking(REWORDED), "stream": True})
    assert b"At the counter." in streamed.body


async def test_responses(client: Client, world: World, upstream: FakeUpstream) -> None:
    upstream.then(answer(RESPONSE))
    await client.post("/v1/responses", {"model": "qwen-small", "input": ASKED})
    await remembered(world)
    hit = await client.post("/v1/responses", {"model": "qwen-small", "input": REWORDED})
    assert hit.headers["cache-status"].endswith("detail=semantic")
    assert hit.document["output"] == RESPONSE["output"]


async def test_a_turn_with_an_image_is_no_question(client: Client, gateway: tuple[Gateway, str]) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    for text in (ASKED, REWORDED):
        turn = {"role": "user", "content": [{"type": "text", "text": text}, image]}
        await client.chat(messages=[turn])
    assert findings(gateway) == {"no_question": 2}


async def test_a_remote_encoder_and_what_it_costs(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    await client.chat(ASKED, model="encoded-afar")
    await remembered(world)
    answers = await asyncio.gather(*(client.chat(REWORDED, model="encoded-afar") for _ in range(3)))
    assert all(given.headers["cache-status"].endswith("detail=semantic") for given in answers)
    assert [call.path for call in upstream.received] == [
        "/v1/embeddings", "/v1/chat/completions", "/v1/embeddings",
    ]  # fmt: skip
    miss, *hits = await world.events()
    embedding = {"model": "embedder", "tokens": 4}
    assert json.loads(miss["raw_usage"]) == {**USAGE, "embedding": embedding}
    assert [hit["outcome"] for hit in hits] == ["semantic"] * 3
    assert [hit["raw_usage"] for hit in hits if hit["raw_usage"]] == [json.dumps({"embedding": embedding})]


@pytest.mark.parametrize("action", ["no_store", "mask"])
async def test_a_question_with_what_must_not_be_kept_is_neither_looked_for_nor_kept(
    client: Client, world: World, upstream: FakeUpstream, action: str
) -> None:
    policy = {**TRUSTED, "sensitive": {"detect": ["email"], "action": action}}
    await world.add_model("discreet", f"{upstream.url}/v1", cache=policy)
    await world.sql.execute(
        "INSERT INTO billing_price (plan_id, model, pool, amount, per, effective_from, created_at)"
        " SELECT plan_id, 'discreet', pool, amount, per, effective_from, created_at FROM billing_price"
        " WHERE model = 'qwen-small'"
    )

    async def is_sold() -> bool:
        return (await client.chat("Hello", model="discreet")).status == 200

    await eventually(is_sold)
    await client.chat("Where is the mail of anne@example.com?", model="discreet")
    await client.chat(ASKED, model="discreet")
    await remembered(world, 2)
    kept = await world.sql.fetch("SELECT question FROM cacheproxy_semanticentry")
    assert not any(b"anne" in row["question"] for row in kept)
    hit = await client.chat(REWORDED, model="discreet")
    assert hit.headers["cache-status"].endswith("detail=semantic")
