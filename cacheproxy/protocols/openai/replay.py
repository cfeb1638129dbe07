"""A stored plain answer, of chat or completions, as the stream of chunks it could have been."""

from collections.abc import Callable, Iterator
from typing import Any

from cacheproxy.protocols import document, sse
from cacheproxy.protocols.openai.stream import CLOSING

_BEFORE_CONTENT = ("reasoning_details", "reasoning", "reasoning_content")
_AFTER_CONTENT = ("function_call", "tool_calls")


def replay_chat(answer: dict[str, Any], *, wants_usage: bool) -> Iterator[bytes]:
    """Return the stream's events: role, reasoning, content, tool calls, finish, usage if asked for, closing.

    What the answer has, the events have; their assembly is the answer again (without its usage, if not asked
    for).
    """
    return _replay({**answer, "object": "chat.completion.chunk"}, _pieces, wants_usage=wants_usage)


def replay_completion(answer: dict[str, Any], *, wants_usage: bool) -> Iterator[bytes]:
    """Return the stream's events: each choice as one chunk (they have the answer's shape), usage, closing."""
    return _replay(answer, lambda choice: iter([choice]), wants_usage=wants_usage)


def _replay(
    answer: dict[str, Any],
    pieces: Callable[[dict[str, Any]], Iterator[dict[str, Any]]],
    *,
    wants_usage: bool,
) -> Iterator[bytes]:
    head = {field: value for field, value in answer.items() if field not in ("choices", "usage")}
    silence = {"usage": None} if wants_usage else {}
    for position, choice in enumerate(answer["choices"]):
        for piece in pieces({"index": position, **choice}):
            yield sse.frame(document.write({**head, "choices": [piece], **silence}))
    if wants_usage and answer.get("usage"):
        yield sse.frame(document.write({**head, "choices": [], "usage": answer["usage"]}))
    yield sse.frame(CLOSING)


def _pieces(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return one choice of a chat as told chunk by chunk; the last has all that is not its message."""
    rest = {field: value for field, value in choice.items() if field not in ("message", "logprobs")}
    logprobs = {"logprobs": choice["logprobs"]} if "logprobs" in choice else {}
    for delta in _deltas(choice["message"]):
        with_text = logprobs if delta.get("content") or delta.get("refusal") else {}
        yield {"index": choice["index"], "delta": delta, **with_text, "finish_reason": None}
        if with_text:
            logprobs = {}
    yield {**rest, "delta": {}, **logprobs}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the role with all that is empty, then every other field for itself, then each tool call."""
    yield {field: value for field, value in message.items() if field == "role" or not value}
    for field, value in sorted(message.items(), key=_turn):
        if field == "role" or not value:
            continue
        if field == "tool_calls":
            yield from ({field: [{"index": index, **call}]} for index, call in enumerate(value))
        else:
            yield {field: value}


def _turn(item: tuple[str, Any]) -> int:
    """Return whether a message's field comes before the content (-1), with it (0), or after (1)."""
    return (item[0] in _AFTER_CONTENT) - (item[0] in _BEFORE_CONTENT)
