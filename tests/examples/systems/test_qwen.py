"""The system of docs/systems/qwen.md: what it shows, in the ledger too, and OpenAI's client."""

import asyncio
from collections.abc import Iterator

import openai
import pytest

from examples.systems import qwen
from examples.systems.gateway import Answer
from examples.systems.system import call
from tests.examples.systems.conftest import Stage

pytestmark = pytest.mark.journey

WEEK_SECONDS = 7 * 86_400


@pytest.fixture(scope="module")
def key(stage: Stage) -> Iterator[str]:
    with stage.serving(qwen.SYSTEM) as key:
        yield key


@pytest.fixture(scope="module")
def answers(stage: Stage, key: str) -> dict[str, Answer]:
    """Give what came of the calls, the last of those with the same name."""
    made = asyncio.run(call(qwen.SYSTEM, stage.stack.url, key))
    stage.check(made)
    return {answer.step: answer for answer in made}


def ttl_seconds(answer: Answer) -> int:
    return int(answer.headers["Cache-Status"].split("ttl=")[1].split(";")[0])


def test_each_use_has_its_own_time_to_live(answers: dict[str, Answer]) -> None:
    assert 0.9 * WEEK_SECONDS - 60 < ttl_seconds(answers["again"]) <= WEEK_SECONDS
    assert 0.9 * 3600 - 60 < ttl_seconds(answers["Anne asks again"]) <= 3600


@pytest.mark.parametrize(
    ("paid", "free"),
    [
        ("a sentence to label", "again, as a stream"),
        ("Anne asks", "Anne asks again"),
        ("Anne asks", "Anne again, as a stream"),
        ("Anne goes on", "Anne goes on, again"),
    ],
)
def test_a_hit_serves_what_the_tokenizer_counted(
    stage: Stage, answers: dict[str, Answer], paid: str, free: str
) -> None:
    miss, hit = stage.event(answers[paid]), stage.event(answers[free])
    assert (hit.input, hit.output, hit.source_event) == (miss.input, miss.output, miss.event_id)
    assert miss.quality == "reported"
    assert miss.input > 10


def test_sessions_do_not_share(stage: Stage, answers: dict[str, Answer]) -> None:
    anne, ben = stage.event(answers["Anne in other words"]), stage.event(answers["Ben in Anne's other words"])
    assert (anne.outcome, ben.outcome) == ("semantic", "miss")


def test_other_words_are_served_the_answer_at_a_fifth_of_its_price(
    stage: Stage, answers: dict[str, Answer]
) -> None:
    paid, reworded = answers["Anne asks"], answers["Anne in other words"]
    assert reworded.list_cost == paid.list_cost
    assert reworded.cost == paid.cost / 5
    assert float(reworded.headers["x-zerorate-similarity"]) > 0.9
    event = stage.event(reworded)
    assert event.source_event == stage.event(paid).event_id
    assert event.similarity == pytest.approx(float(reworded.headers["x-zerorate-similarity"]), abs=1e-4)


def test_openai_s_client_has_a_session_by_a_header(stage: Stage, key: str) -> None:
    with openai.OpenAI(base_url=f"{stage.stack.url}/v1", api_key=key, max_retries=0) as client:
        told = [
            client.chat.completions.with_raw_response.create(
                model="qwen",
                messages=[{"role": "user", "content": "Is my parcel insured?"}],
                max_tokens=8,
                extra_headers={"X-Zerorate-Session": "carol"},
            )
            for _ in "ab"
        ]
    assert told[0].headers["cache-status"] == "zerorate; fwd=miss; stored"
    assert told[1].headers["cache-status"].endswith("; detail=exact")
    assert told[0].parse() == told[1].parse()
