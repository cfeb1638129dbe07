import json
from typing import Any

import msgspec
import openai.types.responses
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib._parsing._responses import parse_response
from openai.lib.streaming.responses._events import ResponseCompletedEvent
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from cacheproxy.protocols import sse
from cacheproxy.protocols.openai.responses import DIALECT, ResponsesDialect
from cacheproxy.protocols.request import (
    EVENT_STREAM,
    JSON,
    Answer,
    Incoming,
    InferenceRequest,
    InvalidRequest,
)
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools
from tests.cacheproxy.protocols.openai.fuzz import (
    answer_of,
    answers,
    check_every_cut,
    check_every_end,
    fed,
    streams,
)
from tests.cacheproxy.protocols.streams import leaves, texts

STREAMS, ANSWERS = streams("responses"), answers("responses")
QUICK = settings(deadline=None, max_examples=40)
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def parse(**fields: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps({"model": "m", "input": "Hello", **fields}).encode()))


def canonical(**fields: Any) -> bytes:
    return DIALECT.canonical(parse(**fields), ())


def replayed(answer: Any, **fields: Any) -> list[dict[str, Any]]:
    given = DIALECT.give(parse(stream=True, **fields), Answer((JSON,), msgspec.json.encode(answer)))
    assert given.headers == (EVENT_STREAM,)
    told = [sse.fields(event) for event in given.body.removesuffix(b"\n\n").split(b"\n\n")]
    assert all(name.decode() == msgspec.json.decode(data)["type"] for name, data in told)
    return [msgspec.json.decode(data) for _, data in told]


class TestRequest:
    def test_it_goes_to_the_surface(self) -> None:
        call = DIALECT.upstream_call(parse(stream=True, x_extra=1), "gpt-5")
        assert call.path == "/responses"
        assert msgspec.json.decode(call.body) == {
            "model": "gpt-5",
            "input": "Hello",
            "stream": True,
            "x_extra": 1,
        }

    @pytest.mark.parametrize("given", ["x", [{"role": "user", "content": "x"}]])
    def test_an_input(self, given: Any) -> None:
        assert parse(input=given).document["input"] == given

    def test_an_input_may_be_elsewhere(self) -> None:
        body = b'{"model": "m", "prompt": {"id": "pmpt_1", "version": "2"}}'
        assert DIALECT.parse(Incoming(body)).document["prompt"]["id"] == "pmpt_1"

    @pytest.mark.parametrize(
        ("fields", "code", "param"),
        [
            ({"input": ""}, "invalid_field", "input"),
            ({"input": {}}, "invalid_field", "input"),
            ({"input": None}, "missing_field", "input"),
            ({"model": 5}, "invalid_field", "model"),
            ({"stream": "yes"}, "invalid_field", "stream"),
            ({"store": 1}, "invalid_field", "store"),
        ],
    )
    def test_what_cannot_be_understood(self, fields: dict[str, Any], code: str, param: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse(**fields)
        assert (refused.value.code, refused.value.param) == (code, param)

    def test_the_most_that_it_may_answer(self) -> None:
        assert DIALECT.output_limit(parse(max_output_tokens=64)) == 64
        assert DIALECT.output_limit(parse()) is None


class TestState:
    @pytest.mark.parametrize(
        "fields",
        [
            {"store": True},
            {"store": False, "background": False, "conversation": None},
            {"prompt": {"id": "pmpt_1", "version": "2"}},
            {"tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]},
            {
                "input": [
                    {"type": "message", "role": "user", "content": "x"},
                    {"type": "function_call_output"},
                ]
            },
        ],
    )
    def test_what_depends_on_the_request_alone(self, fields: dict[str, Any]) -> None:
        assert DIALECT.cacheable(parse(**fields))

    @pytest.mark.parametrize(
        "fields",
        [
            {"previous_response_id": "resp_1"},
            {"conversation": "conv_1"},
            {"conversation": {"id": "conv_1"}},
            {"background": True},
            {"prompt": {"id": "pmpt_1"}},
            {"prompt": "pmpt_1"},
            {"input": [{"type": "item_reference", "id": "msg_1"}]},
            *(
                {"tools": [{"type": kind}]}
                for kind in (
                    "web_search",
                    "web_search_preview",
                    "file_search",
                    "code_interpreter",
                    "computer_use_preview",
                    "mcp",
                    "image_generation",
                    "shell",
                    "unheard_of",
                )
            ),
        ],
    )
    def test_what_does_not(self, fields: dict[str, Any]) -> None:
        assert not DIALECT.cacheable(parse(**fields))

    def test_an_id_is_given_only_to_those_who_asked_for_one_that_is_known(self) -> None:
        assert canonical() == canonical(store=True) == canonical(store=None)
        assert canonical(store=False) != canonical()

    def test_a_stream_and_a_plain_answer_share_a_key(self) -> None:
        assert canonical(stream=True, stream_options={"include_obfuscation": False}) == canonical()
        assert canonical(temperature=0) != canonical()


class TestEcho:
    """What a caller said of itself stands in the answer, but not in the key."""

    MINE = {"metadata": {"trace": "1"}, "user": "u1"}

    def test_whoever_says_nothing_finds_nobodys_words(self) -> None:
        assert canonical(**self.MINE) != canonical()
        assert parse().takes_answers_as_kept
        assert canonical(metadata={}, user=None) == canonical()

    def test_whoever_says_something_finds_an_answer_and_his_own_words_in_it(self) -> None:
        other = {"metadata": {"trace": "2"}, "user": "u2"}
        assert canonical(**self.MINE) == canonical(**other)
        request = parse(**self.MINE)
        assert not request.takes_answers_as_kept
        kept = Answer((JSON,), msgspec.json.encode({**ANSWERS["hello"], **other}))
        assert msgspec.json.decode(DIALECT.give(request, kept).body) == {**ANSWERS["hello"], **self.MINE}

    def test_in_a_stream_too(self) -> None:
        told = replayed(ANSWERS["hello"], **self.MINE)
        assert told[0]["response"]["metadata"] == told[-1]["response"]["metadata"] == {"trace": "1"}


class TestAnswer:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_an_answer_and_its_usage(self, name: str) -> None:
        Response.model_validate(ANSWERS[name])
        assert DIALECT.is_answer(parse(), ANSWERS[name])
        report, usage = DIALECT.usage(parse(), ANSWERS[name], {}, 0), ANSWERS[name]["usage"]
        assert report is not None
        assert report.pools.total == usage["total_tokens"]
        assert report.pools.cache_read == usage["input_tokens_details"]["cached_tokens"]
        assert report.output_reasoning == usage["output_tokens_details"]["reasoning_tokens"]

    @pytest.mark.parametrize(
        "change",
        [
            {"status": "in_progress"},
            {"status": "queued"},
            {"status": "failed"},
            {"status": "incomplete"},
            {"status": "incomplete", "incomplete_details": {}},
            {"status": "incomplete", "incomplete_details": {"reason": "steered"}},
            {"error": {"code": "server_error"}},
            {"output": None},
        ],
    )
    def test_what_is_none(self, change: dict[str, Any]) -> None:
        assert not DIALECT.is_answer(parse(), {**ANSWERS["hello"], **change})
        assert not DIALECT.is_answer(parse(), None)

    def test_an_estimate(self) -> None:
        request = parse(
            instructions="1234", input=[{"role": "user", "content": [{"type": "input_text", "text": "12"}]}]
        )
        assert DIALECT.estimate(request, None).pools == TokenPools(input=2)
        # "Two places."; twice get_weather and its arguments, once sql and SELECT 1
        assert DIALECT.estimate(request, ANSWERS["tools"]) == UsageReport(TokenPools(input=2, output=19), 3)

    @settings(deadline=None, max_examples=50)
    @given(leaves, leaves)
    def test_whatever_was_said_can_be_estimated(self, asked: Any, said: Any) -> None:
        for answer in (said, {"output": said}, {"output": [said]}, {"output": [{"content": said}]}):
            assert DIALECT.estimate(parse(input=[asked]), answer).pools.cache_read == 0


class TestStream:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_however_it_is_cut(self, name: str) -> None:
        check_every_cut(lambda: DIALECT.stream_reader(parse(stream=True)), STREAMS[name], ANSWERS[name])

    @pytest.mark.parametrize("name", ANSWERS)
    def test_cut_short_it_is_no_answer(self, name: str) -> None:
        closing = b"event: response.incomplete" if name == "refused" else b"event: response.completed"
        check_every_end(lambda: DIALECT.stream_reader(parse(stream=True)), STREAMS[name], closing)

    def test_only_the_closing_event_waits(self) -> None:
        reader = DIALECT.stream_reader(parse(stream=True))
        passed = reader.feed(STREAMS["hello"] + b": late\n\n")
        closing = STREAMS["hello"].index(b"event: response.completed")
        assert passed == STREAMS["hello"][:closing]
        assert reader.tail() == STREAMS["hello"][closing:] + b": late\n\n"

    def test_a_failure_is_the_end_and_what_it_used_is_known(self) -> None:
        reader = DIALECT.stream_reader(parse(stream=True))
        assert fed(reader, STREAMS["failed"]) == STREAMS["failed"]
        assert reader.finished
        assert reader.answer() is None
        assert DIALECT.usage(parse(), reader.so_far(), {}, 0) == UsageReport(TokenPools(input=9, output=5))

    @pytest.mark.parametrize(
        "failure",
        [
            b'event: error\ndata: {"type":"error","code":"x","message":"no","param":null,"sequence_number":3}\n\n',
            b'data: {"error": {"message": "no"}}\n\n',
        ],
    )
    def test_an_error_goes_on_at_once_and_is_the_end(self, failure: bytes) -> None:
        reader = DIALECT.stream_reader(parse(stream=True))
        assert reader.feed(failure) == failure
        assert reader.finished
        assert reader.answer() is None

    @pytest.mark.parametrize(
        "event", [b"[]", b"{", b'"x"', b"5", b"[" * 10_000, b'{"type":"response.completed"}']
    )
    def test_what_makes_no_sense(self, event: bytes) -> None:
        reader, stream = (
            DIALECT.stream_reader(parse(stream=True)),
            b"data: " + event + b"\n\n" + STREAMS["hello"],
        )
        assert fed(reader, stream) == stream
        assert reader.answer() is None

    def test_what_was_said_so_far(self) -> None:
        reader = DIALECT.stream_reader(parse(stream=True))
        assert reader.so_far() == {}
        reader.feed(STREAMS["tools"][: STREAMS["tools"].index(b"event: response.completed")])
        report = DIALECT.estimate(parse(), reader.so_far())
        assert (report.pools.output, report.output_reasoning) == (13, 3)
        assert DIALECT.usage(parse(), reader.so_far(), {}, 0) is None

    @settings(deadline=None)
    @given(st.binary(max_size=300), st.integers(0, 300))
    def test_any_bytes_pass_unchanged(self, stream: bytes, place: int) -> None:
        assert fed(DIALECT.stream_reader(parse(stream=True)), stream[:place], stream[place:]) == stream


parts = st.fixed_dictionaries(
    {"type": st.just("output_text"), "text": texts, "annotations": st.just([])}
) | st.fixed_dictionaries({"type": st.just("refusal"), "refusal": texts})
done = {"status": st.just("completed")}
items = (
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.just("assistant"),
            "status": st.just("completed"),
            "content": st.lists(parts),
        }
    )
    | st.fixed_dictionaries(
        {
            "type": st.just("reasoning"),
            "summary": st.lists(st.fixed_dictionaries({"type": st.just("summary_text"), "text": texts})),
        },
        optional={
            "content": st.lists(st.fixed_dictionaries({"type": st.just("reasoning_text"), "text": texts}))
        },
    )
    | st.fixed_dictionaries(
        {
            "type": st.just("function_call"),
            "call_id": texts,
            "name": texts,
            "arguments": texts,
            "status": st.just("completed"),
        }
    )
    | st.fixed_dictionaries(
        {"type": st.just("custom_tool_call"), "call_id": texts, "name": texts, "input": texts}
    )
)
responses = st.lists(items, max_size=4).map(
    lambda listed: {
        **ANSWERS["hello"],
        "output": [
            {"id": f"item_{index}", **item, **({"call_id": f"{index}"} if "call_id" in item else {})}
            for index, item in enumerate(listed)
        ],
    }
)


class TestReplay:
    @QUICK
    @given(responses)
    def test_a_replayed_answer_is_itself_again(self, answer: dict[str, Any]) -> None:
        reader = DIALECT.stream_reader(parse(stream=True))
        fed(reader, *ResponsesDialect().replay(parse(stream=True), msgspec.json.encode(answer)))
        assert answer_of(reader) == answer

    @pytest.mark.parametrize("name", ANSWERS)
    def test_it_says_what_the_live_stream_said(self, name: str) -> None:
        """Deltas come in one piece, and OpenAI's padding is gone."""
        live = [
            json.loads(sse.fields(event)[1]) for event in STREAMS[name].removesuffix(b"\n\n").split(b"\n\n")
        ]
        told = replayed(ANSWERS[name])
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
        assert [
            kind for kind in _kinds(told) if kind != "response.in_progress" or name != "refused"
        ] == _kinds(live)
        for event in (event for event in live if not event["type"].endswith(".delta")):
            assert {**event, "sequence_number": 0} in [{**other, "sequence_number": 0} for other in told]

    @QUICK
    @given(responses)
    def test_openais_own_client_puts_it_together(self, answer: dict[str, Any]) -> None:
        state = ResponseStreamState[Any](input_tools=openai.omit, text_format=openai.omit)
        events = [
            told for event in replayed(answer) for told in state.handle_event(EVENTS.validate_python(event))
        ]
        plain = Response.model_validate(answer)
        expected = parse_response(text_format=openai.omit, input_tools=openai.omit, response=plain)
        assert isinstance(events[-1], ResponseCompletedEvent)
        assert events[-1].response.to_dict() == expected.to_dict()

    def test_what_no_model_writes_piece_by_piece(self) -> None:
        item = {"type": "mcp_list_tools", "id": "l", "server_label": "s", "tools": []}
        part = {"type": "output_audio", "data": "AA=="}
        message = {"type": "message", "id": "m", "role": "assistant", "content": [part]}
        told = replayed({**ANSWERS["hello"], "output": [item, message, "odd"]})
        assert _kinds(told)[2:-1] == [
            "response.output_item.added",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.output_item.done",
        ]

    def test_an_error_of_ours_is_raised_by_clients(self) -> None:
        event = DIALECT.stream_error(status=502, code="upstream_broken", message="It broke off.")
        name, data = sse.fields(event)
        assert name == b"error"
        openai.types.responses.ResponseErrorEvent.model_validate({"sequence_number": 9, **json.loads(data)})
        assert json.loads(data)["error"]["code"] == "upstream_broken"


def _kinds(events: list[dict[str, Any]]) -> list[str]:
    kinds = [event["type"] for event in events]
    return [
        kind for place, kind in enumerate(kinds) if kind != kinds[place - 1] or not kind.endswith(".delta")
    ]
