"""Plain HTTP to a reranker: whole requests, and documents that were scored before."""

from typing import Any

import aiohttp

from tests.clients.stage import Stage, Told, calls_to, expect_hit, expect_miss, fresh


async def ask(stage: Stage, **asked: Any) -> tuple[Told, Any]:
    headers = {"authorization": f"Bearer {stage.key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{stage.url}/v1/rerank", json={"model": "gpt", **asked}, headers=headers) as response,
    ):
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Told(response.status, headers), await response.json()


async def straight(stage: Stage, **asked: Any) -> Any:
    headers = {"authorization": "Bearer sk-openai"}
    url = f"{stage.openai.url}/v1/rerank"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"model": "small", **asked}, headers=headers) as response,
    ):
        return await response.json()


async def test_the_best_come_first_before_and_after(stage: Stage) -> None:
    query = fresh("red green blue")
    asked = {
        "query": query,
        "documents": ["red", "red green", "grey", "red green blue"],
        "top_n": 3,
        "return_documents": True,
    }
    told = await straight(stage, **asked)
    with calls_to(stage.openai, 1):
        (first, answer), (again, repeated) = [await ask(stage, **asked) for _ in "ab"]
    assert answer == repeated == told
    assert [result["index"] for result in answer["results"]] == [3, 1, 0]
    miss = expect_miss(stage, first)
    assert miss.input == told["usage"]["total_tokens"]
    expect_hit(stage, again, miss)


async def test_only_new_documents_go_upstream(stage: Stage) -> None:
    query = fresh("sun moon stars")
    await ask(stage, query=query, documents=["sun", "moon stars"])
    asked = {"query": query, "documents": ["sun moon stars", "moon stars", "night", "sun"]}
    with calls_to(stage.openai, 1):
        head, answer = await ask(stage, **asked)
    assert stage.openai.received[-1].document["documents"] == ["sun moon stars", "night"]
    assert answer == await straight(stage, **asked)
    events = {event.outcome: event for event in stage.events(head.request_id)}
    assert events["miss"].input + events["exact"].input == answer["usage"]["total_tokens"]
    with calls_to(stage.openai, 0):
        _, best = await ask(stage, **asked, top_n=1)
    assert best["results"] == answer["results"][:1]
