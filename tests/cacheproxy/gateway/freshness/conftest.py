"""What the tests of refreshes act on: a chat model whose answers are numbered and take a while."""

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from cacheproxy.gateway.asgi import Gateway
from tests.cacheproxy.gateway.test_metrics import samples
from tests.cacheproxy.gateway.world import Answer, World
from tests.fakes.upstream import Behaviour, FakeUpstream, Received, answer, chat_answer, chat_events, stream

SET_CACHE = "UPDATE cacheproxy_servedmodel SET cache = $1 WHERE name = 'qwen-small'"
TAKES_SECONDS = 0.3
EARLY: Mapping[str, Any] = {"ttl_jitter": 0, "early_refresh": 100}
"""Δ·β is half a minute and more: of an answer kept for a minute some hits are due at once, of one kept a day none."""
BRIEFLY = {"ttl": 60}
"""What the first call says of its own answer; those after it do not."""
WHILE: Mapping[str, Any] = {"ttl_seconds": 1, "ttl_jitter": 0, "stale_while_revalidate_seconds": 60}


def numbered() -> Behaviour:
    """Answer with "1", "2", …, plain or streamed."""
    numbers = itertools.count(1)

    async def behave(call: Received, writer: asyncio.StreamWriter) -> None:
        number = str(next(numbers))
        await asyncio.sleep(TAKES_SECONDS)
        given = stream(*chat_events([number])) if call.document.get("stream") else answer(chat_answer(number))
        await given(call, writer)

    return behave


@pytest.fixture
async def upstream() -> Any:
    server = FakeUpstream(numbered())
    await server.start()
    yield server
    await server.stop()


async def set_policy(world: World, policy: Mapping[str, Any]) -> None:
    await world.sql.execute(SET_CACHE, json.dumps(policy))
    await asyncio.sleep(0.2)


def text_of(given: Answer) -> str:
    """Return what a plain answer says."""
    assert given.status == 200, given.body
    text: str = given.document["choices"][0]["message"]["content"]
    return text


def status_of(given: Answer) -> str:
    """Return a call's Cache-Status without what depends on the clock."""
    parts = given.headers["cache-status"].removeprefix("zerorate; ").split("; ")
    return "; ".join(part for part in parts if not part.startswith("ttl="))


async def refreshes(gateway: Gateway, end: str) -> float:
    """Return how many refreshes of the chat model came to *end*."""
    labels = {"model": "qwen-small", "purpose": "refresh", "end": end}
    shown = samples(await gateway.exposition.text())
    return shown.get(("zerorate_background_calls_total", frozenset(labels.items())), 0)
