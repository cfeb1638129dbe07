from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.sse import EventSplitter, fields, frame, named_frame

ENDS = [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"]
lines = st.binary(min_size=1, max_size=8).filter(lambda line: not {*line} & {*b"\r\n"})


@settings(deadline=None)
@given(st.lists(st.tuples(lines, st.sampled_from(ENDS)), max_size=6), lines, st.lists(st.integers(0, 80)))
def test_events_do_not_depend_on_where_the_bytes_were_cut(
    told: list[tuple[bytes, bytes]], rest: bytes, cuts: list[int]
) -> None:
    stream = b"".join(line + end for line, end in told) + rest
    splitter, events = EventSplitter(), []
    places = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(places):
        events += splitter.feed(stream[start:end])
    assert events == [line + end for line, end in told]
    assert splitter.take() == rest
    assert splitter.pending == b""


def test_a_carriage_return_at_the_end_waits_for_its_line_feed() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\r\n\r") == []
    assert splitter.feed(b"\ndata: b\r\r") == [b"data: a\r\n\r\n"]
    assert splitter.feed(b"data") == [b"data: b\r\r"]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b"data: a\n\n", (b"", b"a")),
        (b"data:a\n\n", (b"", b"a")),
        (b"data:  a\r\n\r\n", (b"", b" a")),
        (b"data: a\ndata: b\n\n", (b"", b"a\nb")),
        (b"event: error\ndata: a: b\n\n", (b"error", b"a: b")),
        (b": comment\n\n", (b"", b"")),
        (b"\xef\xbb\xbfdata: a\n\n", (b"", b"a")),
        (b"database: a\n\n", (b"", b"")),
        (frame(b"{}"), (b"", b"{}")),
    ],
)
def test_an_event_is_read_as_the_standard_says(event: bytes, expected: tuple[bytes, bytes]) -> None:
    assert fields(event) == expected


def test_a_long_event_may_come_in_small_pieces() -> None:
    """In pieces as small as these, one that was copied for each would take minutes."""
    splitter, piece = EventSplitter(), b"x" * 64
    for _ in range(2**16):
        assert splitter.feed(piece) == []
    assert splitter.size == 2**22
    assert splitter.feed(b"\n") == []
    assert [len(event) for event in splitter.feed(b"\ndata")] == [2**22 + 2]
    assert (splitter.pending, splitter.size) == (b"data", 4)


def test_an_event_may_have_a_name() -> None:
    assert fields(named_frame("error", b"{}")) == (b"error", b"{}")
