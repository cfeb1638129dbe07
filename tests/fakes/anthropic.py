"""A server that speaks Anthropic's messages over real HTTP, as `tests.fakes.upstream` does OpenAI's.

What it answers follows from the request alone: thinking where that is enabled, a call of the first tool where
there are tools and the last word is the user's, else the last text back in capitals. Errors are Anthropic's own::

    upstream.then(failure(529, "overloaded_error", "Overloaded"))
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tests.fakes.upstream import Behaviour, FakeUpstream, Received, answer, stream

PIECE = 5
"""Characters in one delta."""


class FakeAnthropic(FakeUpstream):
    """The server. Every call needs `anthropic-version`, and the key, if there is one, as `x-api-key` or bearer."""

    def __init__(self, key: str = "") -> None:
        super().__init__(self._answer)
        self.key = key

    async def _answer(self, call: Received, writer: asyncio.StreamWriter) -> None:
        await self._behaviour(call)(call, writer)

    def _behaviour(self, call: Received) -> Behaviour:
        keys = (call.headers.get("x-api-key"), call.headers.get("authorization", "").removeprefix("Bearer "))
        if self.key and self.key not in keys:
            return failure(401, "authentication_error", "invalid x-api-key")
        if "anthropic-version" not in call.headers:
            return failure(400, "invalid_request_error", "anthropic-version: header is required")
        path, fields = call.path.partition("?")[0], call.document
        if path == "/v1/messages/count_tokens":
            return answer({"input_tokens": _given(fields)})
        if path != "/v1/messages":
            return failure(404, "not_found_error", "Not found")
        if "max_tokens" not in fields:
            return failure(400, "invalid_request_error", "max_tokens: Field required")
        message = reply(fields)
        return stream(*events(message)) if fields.get("stream") else answer(message)


def failure(status: int, kind: str, message: str, *, headers: Mapping[str, str] | None = None) -> Behaviour:
    """Answer with an error."""
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return answer(error, status=status, headers={"request-id": "req_1", **(headers or {})})


def broken_stream(message: Mapping[str, Any], *, after: int, error: str = "Overloaded") -> Behaviour:
    """Answer with so many events of the message's stream, then an error."""
    told = {"type": "error", "error": {"type": "overloaded_error", "message": error}}
    return stream(*list(events(message))[:after], _event(told))


def reply(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message that answers a request."""
    text, content = _last_text(fields), list[dict[str, Any]]()
    if fields.get("thinking"):
        content.append({"type": "thinking", "thinking": f"They said {text}.", "signature": "EqQBCgIYAhIM"})
    calls_tool = bool(fields.get("tools")) and text != ""
    if calls_tool:
        tool = {"id": "toolu_1", "name": fields["tools"][0]["name"], "input": {"text": text}}
        content.append({"type": "tool_use", **tool})
    else:
        content.append({"type": "text", "text": text.upper() or "Done."})
    usage = {"input_tokens": _given(fields), "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": fields["model"],
        "content": content,
        "stop_reason": "tool_use" if calls_tool else "end_turn",
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": _tokens(content)},
    }


def events(message: Mapping[str, Any]) -> Iterator[bytes]:
    """Return the message's stream as Anthropic sends it, the closing event last."""
    usage = {**message["usage"], "output_tokens": 1}
    start = {**message, "content": [], "stop_reason": None, "usage": usage}
    yield _event({"type": "message_start", "message": start})
    yield _event({"type": "ping"})
    for index, block in enumerate(message["content"]):
        begun, deltas = _told(block)
        yield _event({"type": "content_block_start", "index": index, "content_block": begun})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    output = {"output_tokens": message["usage"]["output_tokens"]}
    yield _event({"type": "message_delta", "delta": ending, "usage": output})
    yield _event({"type": "message_stop"})


def _told(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a block as it begins, and the deltas that fill it."""
    match block["type"]:
        case "thinking":
            pieces = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*pieces, signed]
        case "tool_use":
            text = msgspec.json.encode(block["input"]).decode()
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": piece} for piece in _pieces(text)
            ]
        case _:
            return {**block, "text": ""}, [
                {"type": "text_delta", "text": piece} for piece in _pieces(block["text"])
            ]


def _pieces(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def _last_text(fields: Mapping[str, Any]) -> str:
    """Return the last message's text, empty where it is a tool's result."""
    content = fields["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def _given(fields: Mapping[str, Any]) -> int:
    return _tokens([fields.get(field) for field in ("messages", "system", "tools")])


def _tokens(value: Any) -> int:
    return len(msgspec.json.encode(value)) // 4


def _event(document: Mapping[str, Any]) -> bytes:
    return f"event: {document['type']}\ndata: ".encode() + msgspec.json.encode(document) + b"\n\n"
