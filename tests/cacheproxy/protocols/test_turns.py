"""What of a request may be worded otherwise, and what an answer says."""

import json
from typing import Any

import pytest

from cacheproxy.protocols.anthropic.messages import DIALECT as MESSAGES
from cacheproxy.protocols.openai.chat import DIALECT as CHAT
from cacheproxy.protocols.openai.completions import DIALECT as COMPLETIONS
from cacheproxy.protocols.openai.responses import DIALECT as RESPONSES
from cacheproxy.protocols.request import Dialect, Incoming, Wording

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
ASKED = "Where is it?"


def wording(dialect: Dialect, **fields: Any) -> Wording | None:
    body = {"model": "m", "max_tokens": 9, **fields}
    return dialect.wording(dialect.parse(Incoming(json.dumps(body).encode())))


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


TEXT = [{"type": "text", "text": ASKED}]
SURFACES = [
    (CHAT, "messages", [user("Hello"), user(ASKED)]),
    (CHAT, "messages", [user([IMAGE]), user(TEXT, name="anne")]),
    (MESSAGES, "messages", [user("Hello"), {"role": "assistant", "content": "Hi"}, user(ASKED)]),
    (MESSAGES, "messages", [user([{**TEXT[0], "cache_control": {"type": "ephemeral"}}])]),
    (RESPONSES, "input", ASKED),
    (RESPONSES, "input", [user(ASKED)]),
    (RESPONSES, "input", [user([{"type": "input_text", "text": ASKED}], type="message")]),
]


@pytest.mark.parametrize(("dialect", "field", "turns"), SURFACES)
def test_the_last_turn_is_the_question_and_all_else_is_the_rest(
    dialect: Dialect, field: str, turns: Any
) -> None:
    apart = wording(dialect, **{field: turns})
    assert apart is not None
    assert apart.text == ASKED
    reworded = json.loads(json.dumps(turns).replace(ASKED, "Where's it?"))
    other = wording(dialect, **{field: reworded})
    assert other is not None
    assert other.text == "Where's it?"
    assert dialect.canonical(other.rest, ()) == dialect.canonical(apart.rest, ())
    colder = wording(dialect, **{field: turns}, temperature=0)
    assert colder is not None
    assert dialect.canonical(colder.rest, ()) != dialect.canonical(apart.rest, ())


@pytest.mark.parametrize(
    ("dialect", "field", "turns"),
    [
        (CHAT, "messages", [user([*TEXT, IMAGE])]),
        (CHAT, "messages", [user([*TEXT, *TEXT])]),
        (CHAT, "messages", [user("   ")]),
        (CHAT, "messages", [user(None)]),
        (CHAT, "messages", ["no turn"]),
        (CHAT, "messages", [user(ASKED), {"role": "assistant", "content": "Here"}]),
        (CHAT, "messages", [user(ASKED), {"role": "tool", "tool_call_id": "1", "content": "4"}]),
        (MESSAGES, "messages", [user([{"type": "tool_result", "tool_use_id": "1", "content": "4"}])]),
        (RESPONSES, "input", [{"type": "function_call_output", "role": "user", "output": "4"}]),
        (RESPONSES, "input", [user([{"type": "input_image", "image_url": "https://example.com/a.png"}])]),
        (COMPLETIONS, "prompt", ASKED),
    ],
)
def test_what_is_not_one_plain_text_of_the_user_is_no_question(
    dialect: Dialect, field: str, turns: Any
) -> None:
    assert wording(dialect, **{field: turns}) is None


def test_what_answers_say() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
    chat = {"choices": [{"message": {"content": "Here.", "reasoning_content": "Hm."}},
                        {"message": {"content": None, "tool_calls": [call]}}]}  # fmt: skip
    assert CHAT.said(chat) == 'Here.\nfind\n{"id": 7}'
    message = {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Here."},
                           {"type": "tool_use", "id": "1", "name": "find", "input": {"id": 7}}]}  # fmt: skip
    assert MESSAGES.said(message) == 'Here.\nfind\n{"id":7}'
    said = {"type": "message", "content": [{"type": "output_text", "text": "Here."}]}
    assert RESPONSES.said({"output": [{"type": "reasoning", "content": "Hm."}, said]}) == "Here."
    assert COMPLETIONS.said({"choices": [{"text": "Here."}]}) == ""
