"""Anthropic's own client, synchronous and not: messages in every form that it has for them, in every order."""

import json
import time
from typing import Any

import anthropic
import pytest

from tests.clients.conftest import Speaker
from tests.clients.stage import (
    Form,
    Stage,
    calls_to,
    each,
    eventually,
    expect_hit,
    expect_miss,
    fresh,
    got,
    within,
)
from tests.fakes.anthropic import events, failure, reply
from tests.fakes.upstream import stream

TOOLS = [
    {"name": "shout", "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}}},
    {"name": "whisper", "input_schema": {"type": "object"}},
]
CASES: dict[str, dict[str, Any]] = {
    "text": {"system": [{"type": "text", "text": "Be loud.", "cache_control": {"type": "ephemeral"}}]},
    "tools": {"tools": TOOLS, "tool_choice": {"type": "auto"}},
    "thoughts": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "thoughts and tools": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": TOOLS},
}


def asking(text: str) -> dict[str, Any]:
    return {"max_tokens": 2048, "messages": [{"role": "user", "content": fresh(text)}]}


async def plain(speaker: Speaker, **asked: Any) -> Any:
    return (await got(speaker.client.messages.create(model=speaker.model, **asked))).to_dict()


async def streamed(speaker: Speaker, **asked: Any) -> Any:
    """Return what the raw events add up to."""
    stream = await got(speaker.client.messages.create(model=speaker.model, stream=True, **asked))
    told = await each(stream)
    message = told[0].message.to_dict()
    for event in told:
        if event.type == "content_block_start":
            message["content"].append(event.content_block.to_dict())
        elif event.type == "content_block_delta":
            _add(message["content"][event.index], event.delta.to_dict())
        elif event.type == "message_delta":
            message |= event.delta.to_dict()
            message["usage"] |= {"output_tokens": event.usage.output_tokens}
    for block in message["content"]:
        if isinstance(block.get("input"), str):
            block["input"] = json.loads(block["input"])
    assert [event.type for event in told][-2:] == ["message_delta", "message_stop"]
    return message


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for field, piece in delta.items():
        if field == "partial_json":
            block["input"] = (block["input"] or "") + piece
        elif field != "type":
            block[field] = (block.get(field) or "") + piece


async def helped(speaker: Speaker, **asked: Any) -> Any:
    async with within(speaker.client.messages.stream(model=speaker.model, **asked)) as stream:
        await each(stream)
        return (await got(stream.get_final_message())).to_dict()


ORDERS = [
    (plain, plain),
    (streamed, streamed),
    (plain, streamed),
    (streamed, plain),
    (helped, plain),
    (plain, helped),
]


def seen(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: seen(inner) for name, inner in value.items() if inner is not None}
    return [seen(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("first", "then"), ORDERS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("case", CASES)
async def test_every_form_says_the_same_before_and_after(
    stage: Stage, claude: Speaker, straight_claude: Speaker, case: str, first: Form, then: Form
) -> None:
    asked = {**asking("What is the time?"), **CASES[case]}
    told = seen(await first(straight_claude, **asked))
    with calls_to(stage.anthropic, 1):
        assert seen(await first(claude, **asked)) == told
        assert seen(await then(claude, **asked)) == told
    miss = expect_miss(stage, claude.heads[0], streamed=first is not plain)
    expect_hit(stage, claude.heads[1], miss)
    assert (miss.input, miss.output) == (told["usage"]["input_tokens"], told["usage"]["output_tokens"])
    assert miss.quality == "reported"


async def test_the_text_stream_and_the_helpers_events(claude: Speaker) -> None:
    asked = {"model": claude.model, **asking("Sing!")}
    texts = []
    for _ in "ab":
        async with within(claude.client.messages.stream(**asked)) as told:
            texts.append("".join(await each(told.text_stream)))
        async with within(claude.client.messages.stream(**asked)) as told:
            kinds = {event.type for event in await each(told)}
            assert (await got(told.get_final_text())) == texts[0]
        assert {"text", "content_block_stop", "message_stop"} <= kinds
    assert texts == [asked["messages"][0]["content"].upper()] * 2


async def test_a_tools_result_goes_back(stage: Stage, claude: Speaker) -> None:
    asked = {"model": claude.model, "tools": TOOLS, **asking("Shout it")}
    message = await got(claude.client.messages.create(**asked))
    (call,) = (block for block in message.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "done"}
    asked["messages"] = [
        *asked["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    for _ in "ab":
        assert (await got(claude.client.messages.create(**asked))).content[0].text == "Done."
    expect_hit(stage, claude.heads[2], expect_miss(stage, claude.heads[1]))


async def test_counting_tokens(stage: Stage, claude: Speaker) -> None:
    asked = {"model": claude.model, "messages": asking("How many?")["messages"]}
    with calls_to(stage.anthropic, 1):
        counts = [await got(claude.client.messages.count_tokens(**asked)) for _ in "ab"]
    assert counts[0].input_tokens == counts[1].input_tokens > 0
    assert [stage.event(head.request_id).input for head in claude.heads] == [0, 0]


async def test_betas_go_along(stage: Stage, claude: Speaker) -> None:
    asked = {"model": claude.model, **asking("Beta?")}
    for betas in (["b-2", "a-1"], ["a-1", "b-2"]):
        await got(claude.client.beta.messages.create(**asked, betas=betas))
    expect_hit(stage, claude.heads[1], expect_miss(stage, claude.heads[0]))
    sent = stage.anthropic.received[-1].headers
    assert set(sent["anthropic-beta"].split(",")) == {"a-1", "b-2"}
    assert sent["anthropic-version"] == claude.client.default_headers["anthropic-version"]


async def test_models_in_anthropics_shape(claude: Speaker) -> None:
    listed = await each(await got(claude.client.models.list()))
    assert {"claude"} <= {model.id for model in listed}
    assert (await got(claude.client.models.retrieve("claude"))).type == "model"
    with pytest.raises(anthropic.NotFoundError):
        await got(claude.client.models.retrieve("unheard-of"))


async def test_request_ids_are_where_the_client_looks_for_them(claude: Speaker) -> None:
    asked = {"model": claude.model, **asking("Who am I?")}
    message = await got(claude.client.messages.create(**asked))
    assert message._request_id == claude.heads[0].request_id
    async with within(claude.client.messages.stream(**asked)) as told:
        assert told.request_id == claude.heads[1].request_id
    with pytest.raises(anthropic.NotFoundError) as caught:
        await got(claude.client.messages.create(**{**asked, "model": "unheard-of"}))
    assert caught.value.request_id == claude.heads[2].request_id


async def test_what_the_gateway_refuses_is_the_clients_own_error(stage: Stage, claude: Speaker) -> None:
    before = stage.event_count()
    for error, kind, options, changed in (
        (anthropic.AuthenticationError, "authentication_error", {"api_key": "sk-other"}, {}),
        (anthropic.NotFoundError, "not_found_error", {}, {"model": "unheard-of"}),
        (anthropic.BadRequestError, "invalid_request_error", {}, {"messages": []}),
    ):
        client = claude.client.with_options(**options, max_retries=2)
        with pytest.raises(error) as caught:
            await got(client.messages.create(**{"model": "claude", **asking("Hello?"), **changed}))
        assert caught.value.type == kind
        assert claude.heads[-1].headers["x-should-retry"] == "false"
    assert [head.status for head in claude.heads] == [401, 404, 400]
    assert stage.event_count() == before


async def test_an_overloaded_server_is_asked_again_and_the_answer_costs_once(
    stage: Stage, claude: Speaker
) -> None:
    stage.anthropic.then(
        failure(529, "overloaded_error", "Overloaded"),
        failure(429, "rate_limit_error", "Slow down.", headers={"retry-after": "1"}),
    )
    before, started = stage.event_count(), time.monotonic()
    with calls_to(stage.anthropic, 3):
        client = claude.client.with_options(max_retries=2)
        assert await got(client.messages.create(model="claude", **asking("Now?")))
    assert [head.status for head in claude.heads] == [529, 429, 200]
    assert time.monotonic() - started >= 1
    assert stage.event_count() == before + 1


async def test_a_stream_that_is_closed_in_the_middle_is_drained_and_kept(
    stage: Stage, claude: Speaker
) -> None:
    asked = asking("A long one " * 20)
    told = reply({**asked, "model": "small"})
    stage.anthropic.then(stream(*events(told), pause_seconds=0.005))
    async with within(claude.client.messages.stream(model="claude", **asked)) as begun:
        if isinstance(begun, anthropic.AsyncMessageStream):
            await anext(aiter(begun))
        else:
            next(iter(begun))
    with calls_to(stage.anthropic, 0):
        assert seen(await plain(claude, **asked))["content"] == told["content"]
    (miss,) = await eventually(lambda: stage.events(claude.heads[0].request_id))
    assert (miss.outcome, miss.quality, miss.output) == ("miss", "reported", told["usage"]["output_tokens"])


async def test_an_idempotency_key_gives_the_first_answer_under_its_id(stage: Stage, claude: Speaker) -> None:
    asked = {"model": claude.model, **asking("Once?"), "extra_headers": {"idempotency-key": fresh("key")}}
    first, again = [await got(claude.client.messages.create(**asked)) for _ in "ab"]
    assert again == first
    assert again._request_id == first._request_id == claude.heads[0].request_id
    assert claude.heads[1].headers["idempotent-replayed"] == "true"
    assert len(stage.events(first._request_id)) == 1


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
async def test_two_variables_are_enough(
    stage: Stage, way: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stage.url)
    monkeypatch.setenv(name, stage.key)
    client = anthropic.AsyncAnthropic() if way == "async" else anthropic.Anthropic()
    async with within(client):
        assert await got(client.messages.create(model="claude", **asking("Hello?")))
