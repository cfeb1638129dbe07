"""What the tests of the shared tier act on: an upstream whose every answer says what was asked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.world import Answer, Client
from tests.fakes.upstream import FakeUpstream, Received, answer, chat_answer

KEYS = {name: f"{name}:" + letter * 43 + "=" for name, letter in (("old", "A"), ("new", "B"))}


async def echo(call: Received, writer: asyncio.StreamWriter) -> None:
    """Answer with what was asked, after a moment."""
    text = call.document["messages"][-1]["content"]
    await answer(chat_answer(f"You said {text}."), delay_seconds=0.005)(call, writer)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Give an upstream that says who was asked what, so that nobody can get another's answer unnoticed."""
    server = FakeUpstream(echo)
    await server.start()
    yield server
    await server.stop()


def with_redis(settings: GatewaySettings, url: str, **more: Any) -> GatewaySettings:
    return msgspec.structs.replace(settings, redis_url=url, **more)


async def ask(client: Client, text: str) -> Answer:
    """Return the answer to *text*, which is the right one."""
    given = await client.chat(text)
    assert given.status == 200
    assert given.document["choices"][0]["message"]["content"] == f"You said {text}."
    return given


def said(given: Answer) -> str:
    return given.headers["cache-status"].split(";")[1].strip()
