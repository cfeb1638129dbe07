"""Recorded streams, and what hypothesis draws for messages."""

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from cacheproxy.protocols.anthropic.messages import DIALECT
from cacheproxy.protocols.anthropic.stream import MessageStreamReader
from cacheproxy.protocols.request import Incoming, InferenceRequest

RECORDINGS = Path(__file__).parents[3] / "recordings" / "anthropic"
STREAMS = {path.stem: path.read_bytes() for path in sorted(RECORDINGS.glob("*.sse"))}
ANSWERS = {path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted(RECORDINGS.glob("*.json"))}
BODY = {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}


def parse(headers: dict[bytes, bytes] | None = None, **fields: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(msgspec.json.encode({**BODY, **fields}), headers or {}))


def read(*chunks: bytes) -> MessageStreamReader:
    reader = MessageStreamReader()
    for chunk in chunks:
        reader.feed(chunk)
    return reader


def answer_of(reader: MessageStreamReader) -> Any:
    answer = reader.answer()
    return None if answer is None else msgspec.json.decode(answer)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
leaves = plain | st.lists(plain, max_size=2) | st.dictionaries(texts, plain, max_size=2)
citations = st.fixed_dictionaries({"type": st.just("char_location"), "cited_text": texts, "extra": plain})
inputs = st.dictionaries(texts, leaves, max_size=3)


def block(kind: str, fields: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    optional = {**optional, "x_extra": leaves}
    return st.fixed_dictionaries({"type": st.just(kind), **fields}, optional=optional)


blocks = st.one_of(
    block("text", {"text": texts}, {"citations": st.none() | st.lists(citations, max_size=2)}),
    block("thinking", {"thinking": texts, "signature": texts}, {}),
    block("redacted_thinking", {"data": texts}, {"text": texts, "signature": texts}),
    block("tool_use", {"id": texts, "name": texts, "input": inputs}, {"signature": texts}),
    block("server_tool_use", {"id": texts, "name": texts, "input": inputs}, {}),
    block("web_search_tool_result", {"tool_use_id": texts, "content": st.lists(inputs, max_size=2)}, {}),
)
counts = st.integers(0, 99)
usages = st.fixed_dictionaries(
    {"input_tokens": counts, "output_tokens": counts},
    optional={
        "cache_read_input_tokens": st.none() | counts,
        "cache_creation_input_tokens": st.none() | counts,
        "cache_creation": st.none() | st.dictionaries(texts, counts, max_size=2),
        "server_tool_use": st.none() | st.dictionaries(texts, counts, max_size=2),
        "service_tier": st.sampled_from(["standard", "priority"]),
    },
)
messages = st.fixed_dictionaries(
    {
        "id": texts,
        "type": st.just("message"),
        "role": st.just("assistant"),
        "model": texts,
        "content": st.lists(blocks, max_size=4),
        "stop_reason": st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal"]),
    },
    optional={
        "stop_sequence": st.none() | texts,
        "stop_details": leaves,
        "container": leaves,
        "context_management": leaves,
        "x_extra": leaves,
        "usage": usages,
    },
)
