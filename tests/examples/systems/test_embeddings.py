"""The system of docs/systems/embeddings.md: what it shows, in the ledger too, and OpenAI's client."""

import asyncio
import json
from collections.abc import Iterator

import openai
import pytest

from examples.systems import embeddings
from examples.systems.gateway import Answer
from examples.systems.system import call
from tests.examples.systems.conftest import Stage

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def key(stage: Stage) -> Iterator[str]:
    with stage.serving(embeddings.SYSTEM) as key:
        yield key


@pytest.fixture(scope="module")
def answers(stage: Stage, key: str) -> dict[str, Answer]:
    """Give what came of the calls, the last of those with the same name."""
    made = asyncio.run(call(embeddings.SYSTEM, stage.stack.url, key))
    stage.check(made)
    return {answer.step: answer for answer in made}


def test_what_is_known_costs_a_tenth(stage: Stage, answers: dict[str, Answer]) -> None:
    first, again = answers["three texts"], answers["the same three"]
    assert again.list_cost == first.list_cost == first.cost
    assert again.cost * 10 == first.cost
    assert stage.event(again).input == stage.event(first).input == 10 + 12 + 10


def test_of_a_list_only_new_texts_are_computed(stage: Stage, answers: dict[str, Answer]) -> None:
    answer = answers["two of them, two new ones"]
    miss, hit = stage.events(answer)
    assert miss.input == 11 + 9
    assert miss.input + hit.input == json.loads(answer.body)["usage"]["prompt_tokens"]
    assert answer.headers["Cache-Status"].endswith("detail=hits-2-of-4")


def test_a_prediction_is_kept_text_by_text(stage: Stage, answers: dict[str, Answer]) -> None:
    miss, hit = stage.events(answers["one text more, another trace"])
    assert hit.input == stage.event(answers["a query, three texts"]).input
    assert (hit.outcome, miss.outcome) == ("exact", "miss")


def test_openai_s_client_gets_what_was_stored(stage: Stage, key: str) -> None:
    with openai.OpenAI(base_url=f"{stage.stack.url}/v1", api_key=key, max_retries=0) as client:
        first, again = (
            client.embeddings.with_raw_response.create(model="all-minilm", input=embeddings.TEXTS)
            for _ in "ab"
        )
    assert first.headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert again.headers["cache-status"].endswith("; detail=exact")
    told = again.parse()
    assert [len(item.embedding) for item in told.data] == [384] * 3
    assert told == first.parse()
    assert told.usage.prompt_tokens == 32
