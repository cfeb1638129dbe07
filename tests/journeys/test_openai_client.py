"""OpenAI's own client, told nothing but a base URL and a key, against a LitServe server behind the gateway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import psycopg
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionStreamOptionsParam
from psycopg.rows import namedtuple_row

from examples import child
from examples.demo_data import upstream_command, write_catalog
from examples.stack import Stack, running_stack

pytestmark = pytest.mark.journey

EVENT = "SELECT outcome, input, output, source_event, quality FROM metering_usageevent WHERE event_id = %s"
WITH_USAGE: ChatCompletionStreamOptionsParam = {"include_usage": True}


class Journey(NamedTuple):
    stack: Stack
    client: openai.OpenAI

    def event(self, request_id: str) -> Any:
        """Return the one event of a request."""
        url = self.stack.environment["DATABASE_URL"]
        with psycopg.connect(url, row_factory=namedtuple_row) as connection:
            (event,) = connection.execute(EVENT, [request_id]).fetchall()
        return event


@pytest.fixture(scope="module")
def journey(folder: Path) -> Iterator[Journey]:
    port = child.free_port()
    health = f"http://127.0.0.1:{port}/health"
    catalog = folder / "chat.yaml"
    write_catalog("chat.yaml", catalog, ports={9101: port})
    with (
        child.running(upstream_command("chat_server", port), ready_url=health, log=folder / "chat.log"),
        running_stack(folder / "home", log=folder / "stack.log") as stack,
    ):
        stack.manage("apply", str(catalog))
        key = stack.manage("issue_key", "--tenant", "initech", "--name", "Journey").strip()
        with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key) as client:
            yield Journey(stack, client)


def _asking(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": "Answer from the almanac."}, {"role": "user", "content": text}]


def test_a_chat_is_answered_and_its_repetition_is_a_hit(journey: Journey) -> None:
    chats = journey.client.chat.completions.with_raw_response
    first, again = (chats.create(model="almanac-chat", messages=_asking("Who bakes?")) for _ in range(2))
    assert first.headers["cache-status"].startswith("zerorate; fwd=miss; stored")
    assert first.parse().choices[0].message.content
    assert again.headers["cache-status"].startswith("zerorate; hit; ")
    assert again.headers["cache-status"].endswith("detail=exact")
    assert again.parse() == first.parse()
    paid, free = (journey.event(response.headers["x-request-id"]) for response in (first, again))
    usage = first.parse().usage
    assert usage
    assert (paid.outcome, paid.input, paid.output) == ("miss", usage.prompt_tokens, usage.completion_tokens)
    assert (free.outcome, free.input, free.output) == ("exact", usage.prompt_tokens, usage.completion_tokens)
    assert str(free.source_event) == first.headers["x-request-id"] == again.headers["x-zerorate-source"]
    assert paid.quality == "reported"
    assert again.headers["x-zerorate-cost"] == "0 USD"
    assert again.headers["x-zerorate-saved"] == first.headers["x-zerorate-cost"]


def test_a_stream_is_answered_and_its_repetition_is_a_hit(journey: Journey) -> None:
    streams = journey.client.chat.completions.with_raw_response
    texts, events = [], []
    for _ in range(2):
        response = streams.create(
            model="almanac-chat", messages=_asking("Who weaves?"), stream=True, stream_options=WITH_USAGE
        )
        chunks = list(response.parse())
        texts.append("".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
        assert [chunk.usage for chunk in chunks if chunk.usage]
        events.append(journey.event(response.headers["x-request-id"]))
    assert texts[0]
    assert texts[0] == texts[1]
    assert [event.outcome for event in events] == ["miss", "exact"]
    assert events[0].input > 0
    assert events[0][1:3] == events[1][1:3]


def test_a_stream_is_replayed_from_a_plain_answer_and_the_reverse(journey: Journey) -> None:
    chats = journey.client.chat.completions
    plain = chats.create(model="almanac-chat", messages=_asking("Who keeps the gate?"))
    chunks = list(chats.create(model="almanac-chat", messages=_asking("Who keeps the gate?"), stream=True))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    first = list(chats.create(model="almanac-chat", messages=_asking("Who counts coins?"), stream=True))
    whole = chats.with_raw_response.create(model="almanac-chat", messages=_asking("Who counts coins?"))
    assert "; hit; " in whole.headers["cache-status"]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in first if chunk.choices)
    assert whole.parse().choices[0].message.content == text


def test_embeddings_are_answered_and_their_repetition_is_a_hit(journey: Journey) -> None:
    embeddings = journey.client.embeddings.with_raw_response
    texts = ["the clerk writes every sale", "the river runs high"]
    first, again = (embeddings.create(model="almanac-embedding", input=texts) for _ in range(2))
    assert [len(item.embedding) for item in first.parse().data] == [64, 64]
    assert again.parse() == first.parse()
    assert "; hit; " in again.headers["cache-status"]
    event = journey.event(first.headers["x-request-id"])
    assert (event.outcome, event.input, event.output) == ("miss", 9, 0)


def test_the_models_of_the_plan_are_listed(journey: Journey) -> None:
    assert {model.id for model in journey.client.models.list()} == {"almanac-chat", "almanac-embedding"}


def test_a_wrong_key_and_a_foreign_model_are_refused_as_the_client_expects(journey: Journey) -> None:
    with pytest.raises(openai.AuthenticationError):
        journey.client.with_options(api_key="zr_live_wrong").models.list()
    with pytest.raises(openai.NotFoundError):
        journey.client.chat.completions.create(model="unheard-of", messages=_asking("Hello?"))
