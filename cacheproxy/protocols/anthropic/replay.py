"""A stored plain message as the stream it could have been."""

from collections.abc import Iterator, Mapping
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.anthropic.events import event

_ENDING = ("stop_reason", "stop_sequence", "stop_details", "container")
_BESIDE_ENDING = ("context_management",)
_START_USAGE_ONLY = frozenset({"cache_creation", "service_tier", "inference_geo", "speed"})
_GROWN = {
    "text": ("text", "citations"),
    "thinking": ("thinking", "signature"),
    "tool_use": ("input",),
    "server_tool_use": ("input",),
    "mcp_tool_use": ("input",),
}
"""Which fields of a block come by deltas, by its type; blocks of any other come whole."""
_BLANKS: Mapping[str, Any] = {"text": "", "citations": [], "thinking": "", "signature": "", "input": {}}


def replay(message: dict[str, Any]) -> Iterator[bytes]:
    """Return the stream's events: start, every block in its own, the end with the usage, closing.

    What the message has, the events have; their assembly is the message again.
    """
    yield event("message_start", message=_start(message))
    for index, block in enumerate(message["content"]):
        grown = {field: block[field] for field in _GROWN.get(str(block.get("type")), ()) if block.get(field)}
        blank = {**block, **{field: _BLANKS[field] for field in grown}}
        yield event("content_block_start", index=index, content_block=blank)
        for delta in _deltas(grown):
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event("message_delta", **_end(message))
    yield event("message_stop")


def _start(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message before anything was said: no content, no ending, no output counted yet."""
    start = {field: value for field, value in message.items() if field not in _BESIDE_ENDING}
    start |= {"content": []} | {field: None for field in _ENDING if field in message}
    usage = message.get("usage")
    if isinstance(usage, dict) and "output_tokens" in usage:
        start["usage"] = {**usage, "output_tokens": 0}
    return start


def _end(message: dict[str, Any]) -> dict[str, Any]:
    beside = {field: message[field] for field in _BESIDE_ENDING if field in message}
    usage = message.get("usage")
    if isinstance(usage, dict):
        beside["usage"] = {field: count for field, count in usage.items() if field not in _START_USAGE_ONLY}
    return {"delta": {field: message[field] for field in _ENDING if field in message}, **beside}


def _deltas(grown: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return how a block grows from its blank."""
    for field, value in grown.items():
        if field == "citations":
            yield from ({"type": "citations_delta", "citation": citation} for citation in value)
        elif field == "input":
            yield {"type": "input_json_delta", "partial_json": document.write(value).decode()}
        else:
            yield {"type": f"{field}_delta", field: value}
