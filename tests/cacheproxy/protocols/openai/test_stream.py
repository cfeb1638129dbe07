import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cacheproxy.protocols import sse
from cacheproxy.protocols.openai.chat import DIALECT, ChatDialect
from cacheproxy.protocols.stream import EventReader
from tests.cacheproxy.protocols.streams import (
    ANSWERS,
    CLOSING,
    STREAMS,
    answer_of,
    answers,
    chat,
    chat_reader,
    read,
)

HELLO = STREAMS["hello"]
USAGE_EVENT = next(event for event in HELLO.split(b"\n\n") if b'"choices":[]' in event) + b"\n\n"


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(stream)) for place in places} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(ends)]


def event(**fields: Any) -> bytes:
    return sse.frame(msgspec.json.encode({"object": "chat.completion.chunk", **fields}))


def delta(finish_reason: str | None = None, **fields: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": fields, "finish_reason": finish_reason}])


class TestAssembly:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_a_stream_becomes_its_plain_answer(self, name: str) -> None:
        assert answer_of(read(STREAMS[name])) == ANSWERS[name]

    @pytest.mark.parametrize("name", ANSWERS)
    def test_a_plain_answer_from_a_stream_is_an_answer_with_a_usage(self, name: str) -> None:
        assert DIALECT.is_answer(chat(), ANSWERS[name])
        report = DIALECT.usage(chat(), ANSWERS[name], {}, 0)
        assert report is not None
        assert report.pools.total == ANSWERS[name]["usage"]["total_tokens"]

    def test_a_legacy_function_call_grows(self) -> None:
        call = [{"name": "f", "arguments": ""}, {"arguments": "{}"}]
        chunks = [delta(role="assistant", function_call=piece) for piece in call]
        answer = answer_of(read(*chunks, delta("function_call"), CLOSING))
        assert answer["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}

    def test_tool_calls_without_index_stay_apart(self) -> None:
        calls = [
            {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in "ab"
        ]
        answer = answer_of(read(*(delta(tool_calls=[call]) for call in calls), delta("tool_calls"), CLOSING))
        assert answer["choices"][0]["message"]["tool_calls"] == calls

    def test_the_end_of_a_usage_takes_nothing_back(self) -> None:
        start = event(choices=[], usage={"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}})
        end = event(
            choices=[], usage={"completion_tokens": 2, "prompt_tokens": None, "prompt_tokens_details": None}
        )
        assert answer_of(read(start, delta("stop", content="x"), end, CLOSING))["usage"] == {
            "prompt_tokens": 7,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 5},
        }

    def test_a_long_text_comes_whole(self) -> None:
        reader = read(*[delta(content="a" * 50)] * 20_000, delta("stop"), CLOSING)
        assert len(answer_of(reader)["choices"][0]["message"]["content"]) == 1_000_000


class TestPassing:
    @settings(deadline=None)
    @given(
        st.sampled_from(sorted(STREAMS)),
        st.lists(st.integers(0, 3000), max_size=20),
        st.booleans(),
        st.booleans(),
    )
    def test_however_it_is_cut_the_client_gets_the_same_bytes(
        self, name: str, places: list[int], wants_usage: bool, carriage_returns: bool
    ) -> None:
        stream = STREAMS[name].replace(b"\n", b"\r\n") if carriage_returns else STREAMS[name]
        whole, pieces = (
            read(stream, wants_usage=wants_usage),
            chat_reader(wants_usage=wants_usage),
        )
        passed = b"".join(pieces.feed(chunk) for chunk in cut(stream, places))
        asked = stream.replace(b"" if wants_usage else _usage_event(stream), b"")
        assert passed + pieces.tail() == asked
        assert pieces.answer() == whole.answer()
        assert pieces.tail().startswith(b"data: [DONE]")
        assert pieces.finished

    def test_every_byte_may_come_alone(self) -> None:
        reader = chat_reader(wants_usage=True)
        passed = b"".join(reader.feed(HELLO[place : place + 1]) for place in range(len(HELLO)))
        assert passed + reader.tail() == HELLO
        assert answer_of(reader) == ANSWERS["hello"]

    def test_a_complete_event_goes_at_once(self) -> None:
        reader = chat_reader(wants_usage=False)
        first, second = delta(content="a"), delta(content="b")
        assert reader.feed(first) == first
        assert reader.feed(second[:-1]) == b""
        assert reader.feed(second[-1:] + first + second[:5]) == second + first

    def test_comments_and_unknown_events_go_at_once(self) -> None:
        reader = chat_reader(wants_usage=False)
        for bytes_ in (b": keep-alive\n\n", b"event: ping\nid: 5\nretry: 100\n\n"):
            assert reader.feed(bytes_) == bytes_

    def test_a_usage_that_was_not_asked_for_is_left_out_and_counted(self) -> None:
        reader = chat_reader(wants_usage=False)
        assert reader.feed(USAGE_EVENT) == b""
        assert reader.so_far()["usage"]["total_tokens"] == 21

    def test_a_usage_beside_a_choice_is_not_cut_out_of_its_event(self) -> None:
        reader = chat_reader(wants_usage=False)
        assert reader.feed(last := STREAMS["litserve"].split(b"\n\n")[2] + b"\n\n") == last

    def test_a_chunk_without_choices_or_usage_passes(self) -> None:
        reader = chat_reader(wants_usage=False)
        assert reader.feed(filters := event(choices=[], prompt_filter_results=[])) == filters

    @pytest.mark.parametrize("closing", [CLOSING, b"data:[DONE]\r\n\r\n", b"data: [DONE]\n", b"data: [DONE]"])
    def test_the_closing_event_waits(self, closing: bytes) -> None:
        reader = chat_reader(wants_usage=False)
        assert reader.feed(delta("stop", content="x") + closing) == delta("stop", content="x")
        assert reader.finished
        assert reader.feed(b": late\n\n") == b""
        assert reader.tail() == closing + b": late\n\n"
        assert reader.answer() is not None

    def test_an_event_may_have_its_data_on_several_lines_after_a_byte_order_mark(self) -> None:
        lines = delta("stop", content="x").replace(b'"choices":', b'"choices":\ndata: ')
        assert read(b"\xef\xbb\xbf" + lines).so_far()["choices"][0]["message"] == {"content": "x"}


class TestWhatIsNoAnswer:
    @settings(deadline=None)
    @given(st.sampled_from(sorted(ANSWERS)), st.integers(0, 3000))
    @example("hello", len(HELLO) - len(CLOSING))
    def test_a_stream_cut_short(self, name: str, length: int) -> None:
        stream = STREAMS[name]
        reader = read(stream[: min(length, len(stream) - len(CLOSING))])
        assert reader.answer() is None
        assert not reader.finished

    def test_a_choice_without_an_end(self) -> None:
        begun = event(choices=[{"index": 1, "delta": {"content": "y"}, "finish_reason": None}])
        assert read(begun, delta("stop", content="x"), CLOSING).answer() is None
        assert read(CLOSING).answer() is None

    @pytest.mark.parametrize(
        "failure",
        [
            b'data: {"error": {"message": "out of memory"}}\n\n',
            b'data: {"object": "error", "message": "out of memory", "code": 500}\n\n',
            b'event: error\ndata: {"message": "out of memory"}\n\n',
            b"data: out of memory\n\n",
            b"data: [1]\n\n",
            b"data: null\n\n",
            b'data: {"choices": 5}\n\n',
            b'data: {"choices": [[]]}\n\n',
            b'data: {"choices": [{"index": "0"}]}\n\n',
            b'data: {"choices": [{"delta": "x"}]}\n\n',
            b'data: {"usage": "none"}\n\n',
            b'data: {"choices": "\xff"}\n\n',
            b"data: " + b"[" * 10_000 + b"\n\n",
            delta("error"),
        ],
    )
    def test_an_error_inside_a_stream_goes_on_to_the_client(self, failure: bytes) -> None:
        reader = chat_reader(wants_usage=False)
        assert reader.feed(delta(content="x") + failure) == delta(content="x") + failure
        assert reader.feed(delta(None if b'"error"}' in failure else "stop") + CLOSING)
        assert reader.answer() is None
        assert reader.so_far()["choices"][0]["message"] == {"content": "x"}

    def test_an_error_at_the_end_without_a_line_end(self) -> None:
        """LitServe ends so."""
        failure = b'data: {"error": {"message": "Internal server error"}}'
        reader = read(delta(content="x"), failure)
        assert reader.tail() == failure
        assert reader.answer() is None

    def test_bytes_without_events_are_let_go_beyond_a_bound(self) -> None:
        endless = b"x" * EventReader.max_event_bytes
        reader = chat_reader(wants_usage=False)
        assert reader.feed(endless) == b""
        assert reader.feed(b"y") == endless + b"y"
        reader.feed(delta("stop", content="x") + CLOSING)
        assert reader.answer() is None

    @settings(deadline=None)
    @given(st.binary(max_size=300), st.integers(0, 300))
    def test_any_bytes_pass_unchanged(self, stream: bytes, place: int) -> None:
        reader = chat_reader(wants_usage=False)
        passed = reader.feed(stream[:place]) + reader.feed(stream[place:]) + reader.tail()
        line_ends = {b"", b"\n", b"\n\n"} if reader.finished else {b""}
        assert passed in {stream + missing for missing in line_ends}

    def test_nothing_so_far(self) -> None:
        assert read(b": hello\n\n").so_far() == {}


class TestReplay:
    @settings(deadline=None)
    @given(answers())
    def test_a_replayed_answer_assembles_to_itself(self, answer: dict[str, Any]) -> None:
        chunks = list(ChatDialect().replay(chat(wants_usage=True), msgspec.json.encode(answer)))
        assert answer_of(read(*chunks, wants_usage=True)) == answer
        assert answer_of(read(b"".join(chunks))) == answer

    @settings(deadline=None)
    @given(answers())
    def test_a_usage_is_told_only_if_asked_for(self, answer: dict[str, Any]) -> None:
        chunks = list(ChatDialect().replay(chat(wants_usage=False), msgspec.json.encode(answer)))
        without = {field: value for field, value in answer.items() if field != "usage"}
        assert answer_of(read(*chunks)) == without
        assert not any(b'"usage"' in chunk for chunk in chunks)

    def test_chunks_come_in_the_order_of_a_live_stream(self) -> None:
        calls = [
            {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in "ab"
        ]
        message = {
            "tool_calls": calls,
            "content": "c",
            "reasoning_content": "r",
            "refusal": None,
            "role": "assistant",
        }
        choice = {
            "index": 0,
            "message": message,
            "logprobs": {"content": [{"token": "c"}]},
            "finish_reason": "stop",
        }
        answer = {"id": "1", "object": "chat.completion", "choices": [choice], "usage": {"total_tokens": 3}}
        chunks = list(ChatDialect().replay(chat(wants_usage=True), msgspec.json.encode(answer)))
        told = [msgspec.json.decode(chunk.removeprefix(b"data: ")) for chunk in chunks[:-1]]
        assert [chunk["choices"][0]["delta"] for chunk in told[:-1]] == [
            {"role": "assistant", "refusal": None},
            {"reasoning_content": "r"},
            {"content": "c"},
            {"tool_calls": [{"index": 0, **calls[0]}]},
            {"tool_calls": [{"index": 1, **calls[1]}]},
            {},
        ]
        assert [chunk["choices"][0]["finish_reason"] for chunk in told[:-1]] == [None] * 5 + ["stop"]
        assert [chunk["choices"][0].get("logprobs") for chunk in told[:-1]].index(choice["logprobs"]) == 2
        assert told[-1]["choices"] == []
        assert told[-1]["usage"] == {"total_tokens": 3}
        assert {chunk["object"] for chunk in told} == {"chat.completion.chunk"}
        assert chunks[-1] == CLOSING


def _usage_event(stream: bytes) -> bytes:
    """Return the event that has a usage and no choice, ends included."""
    splitter = sse.EventSplitter()
    return next((event for event in splitter.feed(stream) if b'"choices":[]' in event), b"")
