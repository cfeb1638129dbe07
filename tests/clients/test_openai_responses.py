"""OpenAI's own client: responses in every form that it has for them, in every order."""

from typing import Any

import pydantic
import pytest

from tests.clients.conftest import Speaker
from tests.clients.stage import Form, Stage, calls_to, each, expect_hit, expect_miss, fresh, got, within


class Weather(pydantic.BaseModel):
    city: str
    days: int


TOOL = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CASES: dict[str, dict[str, Any]] = {
    "text": {"instructions": "Be loud.", "store": False},
    "thoughts": {"reasoning": {"effort": "low", "summary": "auto"}},
    "logprobs": {"include": ["message.output_text.logprobs"], "top_logprobs": 1},
    "tools": {"tools": [TOOL, {**TOOL, "name": "tides"}]},
    "metadata": {"metadata": {"job": "7"}, "user": "u"},
}


async def plain(speaker: Speaker, **asked: Any) -> Any:
    return (await got(speaker.client.responses.create(model=speaker.model, **asked))).to_dict()


async def streamed(speaker: Speaker, **asked: Any) -> Any:
    """Return the response that closes the stream; what came before it must add up to the same."""
    stream = await got(speaker.client.responses.create(model=speaker.model, stream=True, **asked))
    events = await each(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    response = events[-1].response
    assert response.output_text == text
    return response.to_dict()


async def helped(speaker: Speaker, **asked: Any) -> Any:
    """Return what the client puts together."""
    async with within(speaker.client.responses.stream(model=speaker.model, **asked)) as stream:
        await each(stream)
        return (await got(stream.get_final_response())).to_dict()


def seen(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: seen(inner)
            for name, inner in value.items()
            if inner not in (None, []) and name not in ("parsed", "parsed_arguments")
        }
    return [seen(inner) for inner in value] if isinstance(value, list) else value


ORDERS = [
    (plain, plain),
    (streamed, streamed),
    (plain, streamed),
    (streamed, plain),
    (helped, plain),
    (plain, helped),
]


@pytest.mark.parametrize(("first", "then"), ORDERS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("case", CASES)
async def test_every_form_says_the_same_before_and_after(
    stage: Stage, gpt: Speaker, straight_gpt: Speaker, case: str, first: Form, then: Form
) -> None:
    asked = {"input": fresh("What is the time?"), **CASES[case]}
    told = seen(await first(straight_gpt, **asked))
    with calls_to(stage.openai, 1):
        assert seen(await first(gpt, **asked)) == told
        assert seen(await then(gpt, **asked)) == told
    miss = expect_miss(stage, gpt.heads[0], streamed=first is not plain)
    expect_hit(stage, gpt.heads[1], miss)
    assert (miss.input, miss.output) == (told["usage"]["input_tokens"], told["usage"]["output_tokens"])


async def test_structured_output_is_parsed(stage: Stage, gpt: Speaker) -> None:
    asked: dict[str, Any] = {"input": fresh("Oslo"), "text_format": Weather, "model": gpt.model}
    for _ in "ab":
        response = await got(gpt.client.responses.parse(**asked))
        assert response.output_parsed == Weather(city=asked["input"], days=len(asked["input"]))
    async with within(gpt.client.responses.stream(**asked)) as stream:
        assert (await got(stream.get_final_response())).output_parsed == response.output_parsed
    miss = expect_miss(stage, gpt.heads[0])
    for told in gpt.heads[1:]:
        expect_hit(stage, told, miss)


async def test_a_caller_gets_its_own_metadata_back(stage: Stage, gpt: Speaker) -> None:
    question = fresh("Whose?")
    with calls_to(stage.openai, 1):
        for job in ("one", "two"):
            response = await got(
                gpt.client.responses.create(model=gpt.model, input=question, metadata={"job": job})
            )
            assert response.metadata == {"job": job}


async def test_what_reads_state_always_goes_upstream(stage: Stage, gpt: Speaker) -> None:
    asked = {"model": gpt.model, "input": fresh("And then?"), "previous_response_id": "resp_1"}
    with calls_to(stage.openai, 2):
        for _ in "ab":
            await got(gpt.client.responses.create(**asked))
    assert [told.cache_status for told in gpt.heads] == ["zerorate; fwd=bypass"] * 2
