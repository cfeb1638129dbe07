"""What the gateway adds to the time until a stream's first chunk is there, as OpenAI's client sees it."""

import statistics
import time
from typing import Any

import openai

from tests.clients.conftest import openai_client
from tests.clients.stage import Heads, Stage, fresh
from tests.fakes.openai import chat
from tests.fakes.upstream import stream

ROUNDS = 30
AT_MOST_SECONDS = 0.025
"""Added at the median, on a busy machine of few cores; a quiet one adds less than 2 ms."""
PAUSE_SECONDS = 0.05


def first_and_last_seconds(client: openai.OpenAI, model: str) -> tuple[float, float]:
    """Return when the first chunk of a new stream came, and when all of them had."""
    started = time.perf_counter()
    first = 0.0
    messages: list[Any] = [{"role": "user", "content": fresh("How long does it take?")}]
    for _ in client.chat.completions.create(model=model, messages=messages, stream=True):
        first = first or time.perf_counter() - started
    return first, time.perf_counter() - started


def test_the_gateway_adds_little(stage: Stage) -> None:
    through = openai_client("sync", f"{stage.url}/v1", stage.key, Heads())
    straight = openai_client("sync", f"{stage.openai.url}/v1", "sk-openai", Heads())
    with through, straight:
        for client, model in ((through, "gpt"), (straight, "small")):
            first_and_last_seconds(client, model)
        pairs = [
            (first_and_last_seconds(straight, "small")[0], first_and_last_seconds(through, "gpt")[0])
            for _ in range(ROUNDS)
        ]
    added = statistics.median(gated for _, gated in pairs) - statistics.median(bare for bare, _ in pairs)
    assert added < AT_MOST_SECONDS, f"{added * 1000:.1f} ms"


def test_nothing_waits_for_the_end(stage: Stage) -> None:
    fields = {"model": "small", "messages": [{"role": "user", "content": "slow and steady wins the race"}]}
    events = list(chat.chunks(chat.reply(fields), {}))
    stage.openai.then(stream(*events, pause_seconds=PAUSE_SECONDS))
    with openai_client("sync", f"{stage.url}/v1", stage.key, Heads()) as client:
        first, whole = first_and_last_seconds(client, "gpt")
    assert whole - first > PAUSE_SECONDS * (len(events) - 3)
