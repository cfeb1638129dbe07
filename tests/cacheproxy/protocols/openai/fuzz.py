"""What holds of every stream reader, whatever its surface."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cacheproxy.protocols.request import StreamReader

RECORDINGS = Path(__file__).parents[3] / "recordings" / "openai"


def streams(folder: str) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((RECORDINGS / folder).glob("*.sse"))}


def answers(folder: str) -> dict[str, Any]:
    paths = sorted((RECORDINGS / folder).glob("*.json"))
    return {path.stem: msgspec.json.decode(path.read_bytes()) for path in paths}


def fed(reader: StreamReader, *chunks: bytes) -> bytes:
    """Return all that the client gets."""
    return b"".join([reader.feed(chunk) for chunk in chunks]) + reader.tail()


def answer_of(reader: StreamReader) -> Any:
    answer = reader.answer()
    return None if answer is None else msgspec.json.decode(answer)


def check_every_cut(
    new_reader: Callable[[], StreamReader], stream: bytes, expected: Any, left_out: bytes = b""
) -> None:
    """The stream fed byte by byte, and cut in two at every place, gives one answer and the same bytes."""
    given = stream.replace(left_out, b"")
    halves = ((stream[:place], stream[place:]) for place in range(len(stream)))
    single = (stream[place : place + 1] for place in range(len(stream)))
    for chunks in itertools.chain(halves, [tuple(single)]):
        reader = new_reader()
        assert fed(reader, *chunks) == given
        assert answer_of(reader) == expected
        assert reader.finished == (expected is not None)


def check_every_end(new_reader: Callable[[], StreamReader], stream: bytes, closing: bytes) -> None:
    """The stream cut short before its closing event, anywhere, is no answer."""
    for place in range(stream.index(closing)):
        reader = new_reader()
        assert fed(reader, stream[:place]) is not None
        assert reader.answer() is None
        assert not reader.finished
