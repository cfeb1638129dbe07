"""Whatever an upstream sends, and however it is cut: the client gets every byte of it, and nobody falls over."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.openai.assembly import ChatAssembly, CompletionAssembly
from cacheproxy.protocols.openai.audio import TranscriptReader
from cacheproxy.protocols.openai.images import ImageReader
from cacheproxy.protocols.openai.response_events import ResponseReader
from cacheproxy.protocols.openai.stream import ChunkReader
from cacheproxy.protocols.request import StreamReader
from cacheproxy.protocols.sse import frame
from tests.cacheproxy.protocols.openai.fuzz import fed
from tests.cacheproxy.protocols.streams import leaves, texts

READERS: list[Callable[[], StreamReader]] = [
    lambda: ChunkReader(ChatAssembly(), wants_usage=True),
    lambda: ChunkReader(CompletionAssembly(), wants_usage=True),
    ResponseReader,
    TranscriptReader,
    lambda: ImageReader(images=1),
]
kinds = st.sampled_from(
    [
        "error",
        "response.completed",
        "response.failed",
        "response.output_text.delta",
        "transcript.text.delta",
        "transcript.text.segment",
        "transcript.text.done",
        "transcription.chunk",
        "image_generation.completed",
    ]
)
fields = st.sampled_from(
    ["delta", "text", "choices", "usage", "response", "logprobs", "b64_json", "created_at", "error"]
)
odd = (
    leaves
    | st.lists(leaves, max_size=2)
    | st.lists(st.dictionaries(fields | st.just("index"), leaves), max_size=2)
)
events = st.dictionaries(fields, odd, max_size=4).flatmap(
    lambda said: kinds.map(lambda kind: {**said, "type": kind, "object": kind})
)


@pytest.mark.parametrize("new_reader", READERS)
@settings(deadline=None, max_examples=60)
@given(stream=st.binary(max_size=200), place=st.integers(0, 200))
def test_bytes(new_reader: Callable[[], StreamReader], stream: bytes, place: int) -> None:
    passed = fed(new_reader(), stream[:place], stream[place:])
    assert passed in {stream, stream + b"\n", stream + b"\n\n"}  # a closing event cut short gets its end


@pytest.mark.parametrize("new_reader", READERS)
@settings(deadline=None, max_examples=100)
@given(said=st.lists(events | odd, max_size=4), name=texts, place=st.integers(0, 400))
def test_events_that_are_none_of_its_own(
    new_reader: Callable[[], StreamReader], said: list[object], name: str, place: int
) -> None:
    stream = b"".join(frame(msgspec.json.encode(event)) for event in said) + b"data: [DONE]\n\n"
    reader = new_reader()
    assert fed(reader, stream[:place], stream[place:]) == stream
    reader.answer()
    msgspec.json.encode(reader.so_far())
