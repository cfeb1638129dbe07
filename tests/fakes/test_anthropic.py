"""The fake is what Anthropic's own client takes for Anthropic."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from cacheproxy.protocols.anthropic.messages import DIALECT
from tests.cacheproxy.protocols.anthropic.drawn import parse
from tests.fakes.anthropic import FakeAnthropic, broken_stream, failure, reply

REQUEST: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "How do you do?"}],
}
TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


@pytest.fixture
async def fake() -> AsyncIterator[FakeAnthropic]:
    fake = FakeAnthropic(key="sk-1")
    await fake.start()
    yield fake
    await fake.stop()


def client(fake: FakeAnthropic, key: str = "sk-1") -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key=key, base_url=fake.url, max_retries=0)


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS}, THINKING, {"tools": TOOLS, **THINKING}])
async def test_a_message_is_the_same_plain_and_streamed(fake: FakeAnthropic, fields: dict[str, Any]) -> None:
    async with client(fake) as speaker:
        plain = await speaker.messages.create(**REQUEST, **fields)
        async with speaker.messages.stream(**REQUEST, **fields) as stream:
            streamed = await stream.get_final_message()
    assert streamed.content[0].to_dict() == plain.content[0].to_dict()
    assert streamed.usage == plain.usage
    assert DIALECT.is_answer(parse(), reply({**REQUEST, **fields}))


async def test_tokens_are_counted(fake: FakeAnthropic) -> None:
    async with client(fake) as speaker:
        counted = await speaker.messages.count_tokens(model="claude", messages=REQUEST["messages"])
    assert counted.input_tokens > 0


async def test_it_fails_as_anthropic_does(fake: FakeAnthropic) -> None:
    async with client(fake, "sk-2") as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.create(**REQUEST)
    async with client(fake) as speaker:
        fake.then(failure(529, "overloaded_error", "Overloaded"))
        with pytest.raises(anthropic.OverloadedError):
            await speaker.messages.create(**REQUEST)
        fake.then(broken_stream(reply(REQUEST), after=4))
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async with speaker.messages.stream(**REQUEST) as stream:
                await stream.get_final_message()
