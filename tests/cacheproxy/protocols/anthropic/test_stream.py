import itertools
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cacheproxy.protocols import sse
from cacheproxy.protocols.anthropic.events import event
from cacheproxy.protocols.anthropic.messages import DIALECT, MessagesDialect
from cacheproxy.protocols.anthropic.stream import MessageStreamReader
from cacheproxy.protocols.request import EVENT_STREAM, JSON, Answer
from tests.cacheproxy.protocols.anthropic.drawn import (
    ANSWERS,
    STREAMS,
    answer_of,
    messages,
    parse,
    read,
)

QUICK = settings(deadline=None, max_examples=60)
HELLO = STREAMS["hello"]
CLOSING = event("message_stop")
EVENTS: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def start(**fields: Any) -> bytes:
    return event("message_start", message={"type": "message", "content": [], **fields})


def begin(index: int = 0, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(kind: str, index: int = 0, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def end(usage: Any = None, **fields: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": "end_turn", **fields}, usage=usage)


TEXT = begin(type="text", text="") + delta("text_delta", text="Hi") + stop()


class TestAssembly:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_a_stream_becomes_its_plain_message(self, name: str) -> None:
        assert answer_of(read(STREAMS[name])) == ANSWERS[name]

    @pytest.mark.parametrize("name", sorted(STREAMS.keys() - ANSWERS.keys()))
    def test_or_none(self, name: str) -> None:
        assert read(STREAMS[name]).answer() is None

    @pytest.mark.parametrize("name", ANSWERS)
    def test_it_is_an_answer_unless_the_turn_is_paused(self, name: str) -> None:
        assert DIALECT.is_answer(parse(), ANSWERS[name]) is (name != "paused")

    @pytest.mark.parametrize(
        ("begun", "ended", "whole"),
        [
            ({"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 9}, (5, 0, 0, 9)),
            ({"input_tokens": 5, "cache_read_input_tokens": 90}, {"input_tokens": 5}, (5, 90, 0, 1)),
            (
                {"input_tokens": 5, "cache_read_input_tokens": 90},
                {"cache_read_input_tokens": 0},
                (5, 90, 0, 1),
            ),
            ({"input_tokens": 5, "cache_creation_input_tokens": 90}, {"input_tokens": 0}, (5, 0, 90, 1)),
            ({"input_tokens": 95}, {"input_tokens": 5, "cache_read_input_tokens": 90}, (5, 90, 0, 1)),
            ({"input_tokens": 5}, {"input_tokens": 900, "cache_read_input_tokens": None}, (900, 0, 0, 1)),
            ({}, {"input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 3}, (5, 0, 2, 3)),
        ],
    )
    def test_the_end_completes_the_usage_and_takes_nothing_back(
        self, begun: dict[str, Any], ended: dict[str, Any], whole: tuple[int, ...]
    ) -> None:
        usage = {"output_tokens": 1, **begun} if begun else None
        answer = answer_of(read(start(usage=usage) + TEXT + end(ended) + CLOSING))
        report = DIALECT.usage(parse(), answer, {}, 0)
        assert report is not None
        pools = report.pools
        assert (pools.input, pools.cache_read, pools.cache_write, pools.output) == whole

    def test_blocks_may_come_out_of_order(self) -> None:
        two = begin(1, type="text", text="b") + begin(0, type="text", text="a") + stop(0) + stop(1)
        blocks = answer_of(read(start() + two + end() + CLOSING))["content"]
        assert [block["text"] for block in blocks] == ["a", "b"]

    def test_a_compaction_is_said_once(self) -> None:
        compacted = delta("compaction_delta", content="short", encrypted_content="x")
        answer = answer_of(
            read(start() + begin(type="compaction", content=None) + compacted + stop() + end() + CLOSING)
        )
        assert answer["content"] == [{"type": "compaction", "content": "short", "encrypted_content": "x"}]

    def test_a_long_text_comes_whole(self) -> None:
        pieces = delta("text_delta", text="a" * 50) * 20_000
        answer = answer_of(read(start() + begin(type="text", text="") + pieces + stop() + end() + CLOSING))
        assert len(answer["content"][0]["text"]) == 1_000_000


class TestPassing:
    @settings(deadline=None)
    @given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 4000), max_size=20), st.booleans())
    def test_however_it_is_cut_the_client_gets_the_same_bytes(
        self, name: str, places: list[int], carriage_returns: bool
    ) -> None:
        stream = STREAMS[name].replace(b"\n", b"\r\n") if carriage_returns else STREAMS[name]
        ends = sorted({min(place, len(stream)) for place in places} | {0, len(stream)})
        pieces = MessageStreamReader()
        passed = b"".join(pieces.feed(stream[one:other]) for one, other in itertools.pairwise(ends))
        assert passed + pieces.tail() == stream
        assert pieces.answer() == read(stream).answer()
        assert pieces.finished

    @pytest.mark.parametrize("name", STREAMS)
    def test_every_byte_may_come_alone(self, name: str) -> None:
        reader, stream = MessageStreamReader(), STREAMS[name]
        passed = b"".join(reader.feed(stream[place : place + 1]) for place in range(len(stream)))
        assert passed + reader.tail() == stream
        assert answer_of(reader) == ANSWERS.get(name)

    @pytest.mark.parametrize(
        "closing", [CLOSING, CLOSING.replace(b"\n", b"\r\n"), CLOSING[:-1], CLOSING[:-2], CLOSING[20:]]
    )
    def test_the_closing_event_waits_and_is_whole(self, closing: bytes) -> None:
        before = start() + TEXT + end()
        reader = MessageStreamReader()
        assert reader.feed(before + closing) == before
        assert reader.finished
        assert reader.answer() is not None
        told = sse.EventSplitter()
        assert [sse.fields(event)[1] for event in told.feed(reader.tail())] == [b'{"type":"message_stop"}']

    def test_pings_comments_and_unknown_events_go_at_once(self) -> None:
        reader = MessageStreamReader()
        for bytes_ in (event("ping"), b": keep-alive\n\n", event("message_stopped"), b"event: x\n\n"):
            assert reader.feed(bytes_) == bytes_
        assert not reader.finished

    def test_an_error_goes_at_once_and_ends_the_stream(self) -> None:
        failure = DIALECT.stream_error(status=503, code="upstream_overloaded", message="Later.")
        reader = read(start(), begin(type="text", text="Hi"))
        assert reader.feed(failure) == failure
        assert reader.finished
        assert (reader.tail(), reader.answer()) == (b"", None)
        assert reader.so_far()["content"] == [{"type": "text", "text": "Hi"}]

    @settings(deadline=None)
    @given(st.binary(max_size=300), st.integers(0, 300))
    def test_any_bytes_pass_unchanged(self, stream: bytes, place: int) -> None:
        reader = MessageStreamReader()
        assert reader.feed(stream[:place]) + reader.feed(stream[place:]) + reader.tail() == stream

    def test_bytes_without_events_are_let_go_beyond_a_bound(self) -> None:
        endless = b"x" * MessageStreamReader.max_event_bytes
        reader = MessageStreamReader()
        assert reader.feed(endless) == b""
        assert reader.feed(b"y") == endless + b"y"
        reader.feed(start() + TEXT + end() + CLOSING)
        assert reader.answer() is None


class TestWhatIsNoAnswer:
    @settings(deadline=None)
    @given(st.sampled_from(sorted(ANSWERS)), st.integers(0, 4000))
    def test_a_stream_cut_short(self, name: str, length: int) -> None:
        stream = STREAMS[name][: STREAMS[name].index(b'"message_stop"')]
        reader = read(stream[:length])
        assert reader.answer() is None
        assert not reader.finished

    def test_a_block_without_an_end(self) -> None:
        assert read(start() + begin(type="text", text="Hi") + end() + CLOSING).answer() is None

    def test_a_message_without_an_end(self) -> None:
        assert read(start() + TEXT + CLOSING).answer() is None

    @pytest.mark.parametrize(
        "nonsense",
        [
            b"data: out of memory\n\n",
            b"data: [1]\n\n",
            b'data: {"type": ["x"]}\n\n',
            b'data: {"error": {"message": "out of memory"}}\n\n',
            b'event: content_block_delta\ndata: {"type": "\xff"}\n\n',
            b"data: " + b"[" * 10_000 + b"\n\n",
            event("content_block_delta", index=0),
            event("content_block_delta", index=5, delta={"type": "text_delta", "text": "x"}),
            event("content_block_delta", index="0", delta={"type": "text_delta", "text": "x"}),
            event("content_block_start", index=1, content_block="x"),
            event("content_block_start", content_block={}),
            event("message_start", message=None),
            event("message_delta", delta={}, usage=[]),
            event("surprise", text="x"),
            delta("text_delta", text=None),
            delta("text_delta", text=["x"]),
            delta("surprise_delta", text="x"),
            delta("input_json_delta", partial_json="{") + stop(),
            begin(1, type="text", text=5) + delta("text_delta", 1, text="x"),
            begin(1, type="text", citations=5) + delta("citations_delta", 1, citation={}),
            event("content_block_delta", index=0, delta={"type": ["text_delta"]}),
        ],
    )
    def test_nonsense_goes_on_to_the_client(self, nonsense: bytes) -> None:
        reader = MessageStreamReader()
        before = start(id="a") + begin(type="text", text="") + delta("text_delta", text="Hi")
        assert reader.feed(before + nonsense) == before + nonsense
        reader.feed(stop() + end() + CLOSING)
        assert reader.answer() is None
        assert reader.so_far()["content"][0]["text"] == "Hi"

    def test_nothing_so_far(self) -> None:
        assert read(event("ping")).so_far() == {}


def rebuilt(body: bytes) -> Any:
    """Return the message that Anthropic's own client makes of a stream."""
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    )
    with (
        httpx2.Client(transport=transport) as http,
        anthropic.Anthropic(api_key="k", base_url="http://claude", http_client=http) as client,
        client.messages.stream(
            model="claude", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        return stream.get_final_message().to_dict(mode="json", exclude_unset=False)


class TestReplay:
    @QUICK
    @given(messages)
    def test_a_replayed_message_assembles_to_itself(self, message: dict[str, Any]) -> None:
        events = list(MessagesDialect().replay(parse(stream=True), msgspec.json.encode(message)))
        assert answer_of(read(*events)) == message
        assert read(b"".join(events)).tail() == events[-1] == CLOSING

    @pytest.mark.parametrize("name", ANSWERS)
    def test_anthropics_own_client_reads_the_same_message(self, name: str) -> None:
        kept = Answer((JSON,), msgspec.json.encode(ANSWERS[name]))
        headers, body = DIALECT.give(parse(stream=True), kept)
        assert headers == (EVENT_STREAM,)
        told = sse.EventSplitter()
        for told_event in told.feed(body):
            kind, data = sse.fields(told_event)
            assert EVENTS.validate_json(data).type == kind.decode()
        assert rebuilt(body) == rebuilt_from_live(name)

    @pytest.mark.parametrize("name", ANSWERS)
    def test_a_plain_message_is_given_as_it_is(self, name: str) -> None:
        kept = Answer((JSON,), msgspec.json.encode(ANSWERS[name]))
        assert DIALECT.give(parse(), kept) == kept

    def test_events_come_in_the_order_of_a_live_stream(self) -> None:
        told = [
            sse.fields(event) for event in MessagesDialect().replay(parse(), b'{"content":[{"type":"text"}]}')
        ]
        assert [name for name, _ in told] == [
            b"message_start",
            b"content_block_start",
            b"content_block_stop",
            b"message_delta",
            b"message_stop",
        ]


def rebuilt_from_live(name: str) -> Any:
    """Return what the client makes of the recording. It believes the zeros at the end of `forgetful`."""
    live = rebuilt(STREAMS[name])
    return live if name != "forgetful" else {**live, "usage": live["usage"] | USAGE_FORGOTTEN}


USAGE_FORGOTTEN = {"input_tokens": 20, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 10}
