"""Recorded streams, and what hypothesis draws for answers."""

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from cacheproxy.protocols.openai.assembly import ChatAssembly
from cacheproxy.protocols.openai.stream import ChunkReader
from cacheproxy.protocols.request import InferenceRequest

RECORDINGS = Path(__file__).parents[2] / "recordings" / "openai"
STREAMS = {path.stem: path.read_bytes() for path in sorted(RECORDINGS.glob("*.sse"))}
ANSWERS = {path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted(RECORDINGS.glob("*.json"))}
CLOSING = b"data: [DONE]\n\n"


def chat(*, stream: bool = True, wants_usage: bool = False, **fields: Any) -> InferenceRequest:
    document = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return InferenceRequest(model="m", stream=stream, wants_usage=wants_usage, document=document)


def chat_reader(*, wants_usage: bool = False) -> ChunkReader:
    return ChunkReader(ChatAssembly(), wants_usage=wants_usage)


def read(*chunks: bytes, wants_usage: bool = False) -> ChunkReader:
    reader = chat_reader(wants_usage=wants_usage)
    for chunk in chunks:
        reader.feed(chunk)
    return reader


def answer_of(reader: ChunkReader) -> Any:
    answer = reader.answer()
    return None if answer is None else msgspec.json.decode(answer)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.sampled_from(["stop_reason", "x_extra", "content_filter_results", "matched_stop"])
plain = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
leaves = plain | st.dictionaries(texts, plain, max_size=2)
tokens = st.fixed_dictionaries(
    {"token": texts, "logprob": st.integers(-9, 0), "bytes": st.lists(st.integers(0, 255))}
)
tool_calls = st.fixed_dictionaries(
    {
        "id": texts,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": texts, "arguments": texts}),
    }
)
messages = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | texts},
    optional={
        "refusal": st.none() | texts,
        "reasoning_content": st.none() | texts,
        "reasoning": texts,
        "reasoning_details": st.lists(st.fixed_dictionaries({"text": texts}), max_size=2),
        "tool_calls": st.none() | st.lists(tool_calls, max_size=3),
        "function_call": st.fixed_dictionaries({"name": texts, "arguments": texts}),
        "annotations": st.lists(leaves, max_size=2),
        "audio": st.fixed_dictionaries({"id": texts, "data": texts, "expires_at": st.integers()}),
    },
)
logprobs = st.none() | st.fixed_dictionaries({"content": st.lists(tokens, max_size=3), "refusal": st.none()})
usages = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 99), "completion_tokens": st.integers(0, 99)},
    optional={"prompt_tokens_details": st.none() | st.dictionaries(texts, st.integers(0, 9), max_size=2)},
)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """Draw plain chat answers, with one to three choices and fields that no one knows."""
    choices = [
        {
            "index": index,
            "message": draw(messages),
            "finish_reason": draw(st.sampled_from(["stop", "length", "tool_calls"])),
            **draw(st.dictionaries(names, leaves, max_size=2)),
            **draw(st.fixed_dictionaries({}, optional={"logprobs": logprobs})),
        }
        for index in range(draw(st.integers(1, 3)))
    ]
    head = {
        "id": draw(texts),
        "object": "chat.completion",
        "created": draw(st.integers(0, 2**40)),
        "model": "m",
    }
    extras = draw(st.dictionaries(st.sampled_from(["system_fingerprint", "citations", "x_groq"]), leaves))
    return {
        **head,
        **extras,
        "choices": choices,
        **draw(st.fixed_dictionaries({}, optional={"usage": usages})),
    }
