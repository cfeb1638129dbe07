"""The cache controls of other gateways, as their customers send them: with the clients that they have."""

from typing import Any

import pytest

from tests.clients.conftest import Speaker
from tests.clients.stage import Stage, calls_to, fresh, got

FRESH = [
    {"extra_body": {"cache": {"no-cache": True}}},
    {"extra_headers": {"cf-aig-skip-cache": "true"}},
    {"extra_headers": {"x-openrouter-cache-clear": "true"}},
    {"extra_headers": {"x-portkey-cache-force-refresh": "true"}},
    {"extra_headers": {"cache-control": "no-cache"}},
]
UNSEEN = [
    {"extra_body": {"cache": {"no-store": True}}},
    {"extra_headers": {"helicone-cache-enabled": "false"}},
    {"extra_headers": {"x-openrouter-cache": "false"}},
    {"extra_headers": {"cache-control": "no-store"}},
]
APART = [
    {"extra_body": {"cache": {"namespace": "other"}}},
    {"extra_headers": {"helicone-cache-seed": "other"}},
    {"extra_headers": {"cf-aig-cache-key": "other"}},
    {"extra_headers": {"x-portkey-cache-namespace": "other"}},
    {"extra_headers": {"x-zerorate-session": "other"}},
]


def _named(control: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for inner in control.values() for name, value in inner.items())


async def chat(speaker: Speaker, text: str, **more: Any) -> str:
    """Return how the gateway came by its answer."""
    messages = [{"role": "user", "content": text}]
    await got(speaker.client.chat.completions.create(model=speaker.model, messages=messages, **more))
    return speaker.heads[-1].cache_status


@pytest.mark.parametrize("control", FRESH, ids=_named)
async def test_a_fresh_answer_takes_the_stored_ones_place(stage: Stage, gpt: Speaker, control: Any) -> None:
    text = fresh("New?")
    with calls_to(stage.openai, 2):
        assert await chat(gpt, text) == "zerorate; fwd=miss; stored"
        assert await chat(gpt, text, **control) == "zerorate; fwd=bypass; stored"
        assert (await chat(gpt, text)).endswith("detail=exact")
    assert gpt.heads[2].headers["x-zerorate-source"] == gpt.heads[1].request_id
    assert "cache" not in stage.openai.received[-1].document


@pytest.mark.parametrize("control", UNSEEN, ids=_named)
async def test_an_answer_is_neither_read_nor_kept(stage: Stage, gpt: Speaker, control: Any) -> None:
    text = fresh("Secret?")
    with calls_to(stage.openai, 3):
        assert [await chat(gpt, text, **control) for _ in "ab"] == ["zerorate; fwd=bypass"] * 2
        assert await chat(gpt, text) == "zerorate; fwd=miss; stored"


@pytest.mark.parametrize("control", APART, ids=_named)
async def test_answers_are_kept_apart(stage: Stage, gpt: Speaker, control: Any) -> None:
    text, nothing = fresh("Whose?"), dict[str, Any]()
    with calls_to(stage.openai, 2):
        told = [await chat(gpt, text, **more) for more in (nothing, control, nothing, control)]
    assert ["hit" in status for status in told] == [False, False, True, True]


async def test_ages_and_lifetimes(stage: Stage, gpt: Speaker) -> None:
    text = fresh("When?")
    await chat(gpt, text, extra_body={"cache": {"ttl": 60}})
    status = await chat(gpt, text, extra_body={"cache": {"s-maxage": 600}})
    assert "; hit; " in status
    assert 0 < int(status.partition("ttl=")[2].partition(";")[0]) <= 66
    assert (await chat(gpt, text, extra_headers={"cache-control": "only-if-cached"})).endswith("exact")


@pytest.mark.parametrize("control", [*FRESH[:2], *UNSEEN[:2]], ids=_named)
async def test_anthropics_client_has_the_same(stage: Stage, claude: Speaker, control: Any) -> None:
    messages = [{"role": "user", "content": fresh("New?")}]
    nothing: dict[str, Any] = {}
    with calls_to(stage.anthropic, 2):
        for more in (nothing, control):
            await got(claude.client.messages.create(model="claude", max_tokens=9, messages=messages, **more))
    assert claude.heads[1].cache_status.startswith("zerorate; fwd=bypass")
