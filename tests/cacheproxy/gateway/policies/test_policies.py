"""Policies by task, what is cacheable, rounding, and what is in a key."""

import json
from typing import Any

import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.policies.conftest import Under
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import FakeUpstream, answer, chat_answer

SENTIMENT = {"name": "sentiment", "when": {"path": "/metadata/task", "equals": "sentiment"}}


async def test_one_model_serves_tasks_of_different_policies(under: Under, upstream: FakeUpstream) -> None:
    async with under(scope="session", tasks=[{**SENTIMENT, "policy": {"scope": "tenant"}}]) as client:
        classified = [await client.chat("Good!", metadata={"task": "sentiment"}) for _ in range(2)]
        session = {"x-zerorate-session": "s-1"}
        talked = [await client.chat("Good!"), await client.chat("Good!", headers=session)]

    assert [given.headers["cache-status"].split("; ttl")[0] for given in (*classified, *talked)] == [
        "zerorate; fwd=miss; stored",
        "zerorate; hit",
        "zerorate; fwd=bypass",
        "zerorate; fwd=miss; stored",
    ]


async def test_a_task_shares_no_answers_with_another(under: Under, upstream: FakeUpstream) -> None:
    async with under(tasks=[{**SENTIMENT, "policy": {}}]) as client:
        await client.chat("Good!", metadata={"task": "sentiment"})
        other = await client.chat("Good!", metadata={"task": "chat"})
    assert other.headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_a_policy_that_changes_is_followed_at_once(
    under: Under, world: World, upstream: FakeUpstream
) -> None:
    async with under() as client:
        await client.chat()
        await world.sql.execute(
            "UPDATE cacheproxy_servedmodel SET cache = $1", json.dumps({"enabled": False})
        )
        await eventually(lambda: bypasses(client))


async def bypasses(client: Client) -> bool:
    return (await client.chat()).headers["cache-status"] == "zerorate; fwd=bypass"


@pytest.mark.parametrize(
    ("cacheable", "asked", "status"),
    [
        ({"max_temperature": 0.2}, {"temperature": 0.1}, "fwd=miss; stored"),
        ({"max_temperature": 0.2}, {"temperature": 0.5}, "fwd=bypass"),
        ({"max_temperature": 0.2}, {}, "fwd=bypass"),
        ({"tools": False}, {"tools": [{"type": "function", "function": {"name": "f"}}]}, "fwd=bypass"),
        ({"finish_reasons": ["stop"]}, {}, "fwd=miss; stored"),
        ({"finish_reasons": ["length"]}, {}, "fwd=miss"),
        ({"max_bytes": 10_000}, {}, "fwd=miss; stored"),
        ({"max_bytes": 100}, {}, "fwd=miss"),
    ],
)
async def test_only_what_is_cacheable_is_kept(
    cacheable: dict[str, Any], asked: dict[str, Any], status: str, under: Under, upstream: FakeUpstream
) -> None:
    async with under(cacheable=cacheable) as client:
        first, again = await client.chat(**asked), await client.chat(**asked)
    assert first.headers["cache-status"] == f"zerorate; {status}"
    assert ("; hit;" in again.headers["cache-status"]) == status.endswith("stored")


async def test_rounded_inputs_hit_and_their_events_say_so(
    under: Under, upstream: FakeUpstream, world: World
) -> None:
    async with under("ocr", round_digits=2) as client:
        answers = [
            await client.post("/v1/predict/ocr", {"features": [value, 1.0]}) for value in (0.5, 0.5001, 0.52)
        ]
    assert [("; hit;" in given.headers["cache-status"]) for given in answers] == [False, True, False]
    assert answers[1].document == answers[0].document
    notes = [event["raw_usage"] for event in await world.events()]
    assert [json.loads(note or "{}").get("round_digits") for note in notes] == [None, 2, None]


async def test_volatile_fields_may_have_a_wildcard(under: Under, upstream: FakeUpstream) -> None:
    async with under(volatile_fields=["/messages/*/name"]) as client:
        statuses = [
            (await client.chat(messages=[{"role": "user", "content": text, "name": name}])).headers[
                "cache-status"
            ]
            for text, name in (("Hi", "Ann"), ("Hi", "Bob"), ("Ho", "Bob"))
        ]
    assert ["; hit;" in status for status in statuses] == [False, True, False]


async def is_fresh(client: Client, text: str) -> bool:
    return (await client.chat(text)).headers["cache-status"] == "zerorate; fwd=miss; stored"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cacheproxy_servedmodel SET version = '2' WHERE name = 'qwen-small'",
        "UPDATE cacheproxy_upstream SET url = url || '/' || 'x' WHERE name = 'qwen-small-server'",
        "UPDATE cacheproxy_target SET upstream_model = 'other'",
        """UPDATE cacheproxy_servedmodel SET metering = '{"units": {"per_call": 1}}' WHERE name = 'qwen-small'""",
        """UPDATE cacheproxy_servedmodel SET cache = '{"volatile_fields": ["/seed"]}' WHERE name = 'qwen-small'""",
    ],
)
async def test_a_new_version_or_upstream_never_gives_an_old_answer(
    change: str, client: Client, world: World, upstream: FakeUpstream
) -> None:
    await client.chat("Hi")
    assert not await is_fresh(client, "Hi")
    await world.sql.execute(change)
    await eventually(lambda: is_fresh(client, "Hi"))


@pytest.mark.parametrize(
    "first", ["You are kind.", "You are kind", [{"type": "text", "text": "You are kind."}]]
)
async def test_the_system_prompt_is_in_the_key(first: Any, client: Client, upstream: FakeUpstream) -> None:
    question = {"role": "user", "content": "Hi"}
    await client.chat(messages=[{"role": "system", "content": "You are rude."}, question])
    other = await client.chat(messages=[{"role": "system", "content": first}, question])
    plain = await client.chat(messages=[question])
    assert {given.headers["cache-status"] for given in (other, plain)} == {"zerorate; fwd=miss; stored"}


async def test_a_large_body_is_understood_beside_other_calls(
    client: Client, upstream: FakeUpstream, gateway_settings: GatewaySettings
) -> None:
    upstream.then(answer(chat_answer("Long.")))
    text = "x" * 600_000
    first, again = await client.chat(text), await client.chat(text)
    assert (first.status, again.body) == (200, first.body)
    assert "; hit;" in again.headers["cache-status"]
