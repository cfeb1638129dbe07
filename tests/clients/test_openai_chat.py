"""OpenAI's own client, synchronous and not: chats in every form that it has for them, in every order.

What a program sees through the gateway is what it sees straight at the server.
"""

from typing import Any

import openai
import pydantic
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState

from tests.clients.conftest import Speaker
from tests.clients.stage import Form, Stage, calls_to, each, expect_hit, expect_miss, fresh, got, within

WITH_USAGE = {"stream_options": {"include_usage": True}}


class Weather(pydantic.BaseModel):
    city: str
    days: int


def tool(name: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "strict": True, "parameters": parameters}}


CASES: dict[str, dict[str, Any]] = {
    "text": {"temperature": 0.5, "seed": 7},
    "choices": {"n": 3},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "thoughts": {"reasoning_effort": "high"},
    "tools": {"tools": [tool("weather"), tool("tides")], "parallel_tool_calls": True},
    "structure": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "weather", "schema": Weather.model_json_schema()},
        }
    },
    "unknown": {"extra_body": {"top_k": 3, "chat_template_kwargs": {"enable_thinking": False}}},
}


def asking(text: str) -> list[dict[str, Any]]:
    return [{"role": "developer", "content": "Be loud."}, {"role": "user", "content": text}]


async def plain(speaker: Speaker, **asked: Any) -> Any:
    return (await got(speaker.client.chat.completions.create(model=speaker.model, **asked))).to_dict()


async def streamed(speaker: Speaker, **asked: Any) -> Any:
    """Return what the client makes of the chunks, once they are all there."""
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    stream = await got(
        speaker.client.chat.completions.create(model=speaker.model, stream=True, **WITH_USAGE, **asked)
    )
    for chunk in await each(stream):
        state.handle_chunk(chunk)
    return state.get_final_completion().to_dict()


async def helped(speaker: Speaker, **asked: Any) -> Any:
    manager = speaker.client.chat.completions.stream(model=speaker.model, **WITH_USAGE, **asked)
    async with within(manager) as stream:
        await each(stream)
        return (await got(stream.get_final_completion())).to_dict()


ORDERS = [
    (plain, plain),
    (streamed, streamed),
    (plain, streamed),
    (streamed, plain),
    (helped, plain),
    (plain, helped),
]


def seen(completion: Any) -> Any:
    """Return what a program sees of a completion: all of it but nothing, and what the client itself parsed."""
    if isinstance(completion, dict):
        return {
            name: seen(value)
            for name, value in completion.items()
            if value not in (None, [], {})
            and name not in ("parsed", "parsed_arguments", "obfuscation", "index")
        }
    return [seen(value) for value in completion] if isinstance(completion, list) else completion


@pytest.mark.parametrize(("first", "then"), ORDERS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("case", CASES)
async def test_every_form_says_the_same_before_and_after(
    stage: Stage, gpt: Speaker, straight_gpt: Speaker, case: str, first: Form, then: Form
) -> None:
    asked = {"messages": asking(fresh("What is the time?")), **CASES[case]}
    told = seen(await first(straight_gpt, **asked))
    with calls_to(stage.openai, 1):
        assert seen(await first(gpt, **asked)) == told
        assert seen(await then(gpt, **asked)) == told
    miss = expect_miss(stage, gpt.heads[0], streamed=first is not plain)
    expect_hit(stage, gpt.heads[1], miss)
    usage = told["usage"]
    assert miss.input + miss.cache_read == usage["prompt_tokens"]
    assert (miss.output, miss.cache_read) == (usage["completion_tokens"], 2)
    assert miss.quality == "reported"


async def test_structured_output_is_parsed(stage: Stage, gpt: Speaker) -> None:
    asked = {"messages": asking(fresh("Oslo")), "response_format": Weather, "model": gpt.model}
    for _ in "ab":
        completion = await got(gpt.client.chat.completions.parse(**asked))
        city = completion.choices[0].message.parsed.city
        assert completion.choices[0].message.parsed == Weather(city=city, days=len(city))
    async with within(gpt.client.chat.completions.stream(**asked)) as stream:
        kinds = [event.type for event in await each(stream)]
        assert (await got(stream.get_final_completion())).choices[0].message.parsed.city == city
    assert {"chunk", "content.delta", "content.done"} <= set(kinds)
    miss = expect_miss(stage, gpt.heads[0])
    for told in gpt.heads[1:]:
        expect_hit(stage, told, miss)


async def test_tools_are_called_and_their_results_go_back(stage: Stage, gpt: Speaker) -> None:
    tools = [openai.pydantic_function_tool(Weather)]
    asked: dict[str, Any] = {"messages": asking(fresh("Bergen?")), "tools": tools, "model": gpt.model}
    async with within(gpt.client.chat.completions.stream(**asked)) as stream:
        (done,) = [
            event for event in await each(stream) if event.type == "tool_calls.function.arguments.done"
        ]
    parsed = await got(gpt.client.chat.completions.parse(**asked))
    (call,) = parsed.choices[0].message.tool_calls
    assert call.function.parsed_arguments == done.parsed_arguments
    assert isinstance(done.parsed_arguments, Weather)
    expect_hit(stage, gpt.heads[1], expect_miss(stage, gpt.heads[0], streamed=True))
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    more = {**asked, "messages": [*asked["messages"], parsed.choices[0].message, result]}
    answers = [await got(gpt.client.chat.completions.create(**more)) for _ in "ab"]
    assert [answer.choices[0].message.content for answer in answers] == ["RAIN", "RAIN"]
    expect_hit(stage, gpt.heads[3], expect_miss(stage, gpt.heads[2]))


async def test_refusals_are_told_as_such(gpt: Speaker) -> None:
    asked = {"messages": asking(fresh("please refuse")), "model": gpt.model}
    for _ in "ab":
        async with within(gpt.client.chat.completions.stream(**asked)) as stream:
            assert "refusal.done" in [event.type for event in await each(stream)]
        answer = await got(gpt.client.chat.completions.create(**asked))
        assert answer.choices[0].message.refusal == "I cannot say that."


async def test_a_usage_chunk_comes_only_where_it_was_asked_for(gpt: Speaker) -> None:
    asked = {"messages": asking(fresh("How much?")), "model": gpt.model, "stream": True}
    for _ in "ab":
        silent = await each(await got(gpt.client.chat.completions.create(**asked)))
        assert not any(chunk.usage or not chunk.choices for chunk in silent)
        spoken = await each(await got(gpt.client.chat.completions.create(**asked, **WITH_USAGE)))
        assert [bool(chunk.usage) for chunk in spoken] == [False] * (len(spoken) - 1) + [True]


async def test_raw_and_streaming_responses(gpt: Speaker) -> None:
    completions, asked = gpt.client.chat.completions, {"messages": asking(fresh("Raw?")), "model": gpt.model}
    raw = await got(completions.with_raw_response.create(**asked))
    said = (await got(raw.parse())).choices[0].message.content
    assert raw.headers["x-request-id"] == raw.request_id == gpt.heads[0].request_id
    async with within(completions.with_streaming_response.create(**asked)) as response:
        assert response.headers["cache-status"].endswith("detail=exact")
        assert (await got(response.parse())).choices[0].message.content == said
    async with within(completions.with_streaming_response.create(**asked, stream=True)) as response:
        lines = await each(response.iter_lines())
    assert lines[-2:] == ["data: [DONE]", ""]
    assert (await got(completions.create(**asked)))._request_id == gpt.heads[-1].request_id


async def test_images_in_messages(gpt: Speaker) -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": fresh("What is this?")},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
    ]
    for _ in "ab":
        asked = {"messages": [{"role": "user", "content": parts}], "model": gpt.model}
        answer = await got(gpt.client.chat.completions.create(**asked))
        assert answer.choices[0].message.content == parts[0]["text"].upper() + " "
    assert gpt.heads[1].cache_status.endswith("exact")
