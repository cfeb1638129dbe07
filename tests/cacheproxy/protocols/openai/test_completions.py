import json
from typing import Any

import msgspec
import openai.types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.openai.completions import DIALECT, CompletionsDialect
from cacheproxy.protocols.request import JSON, Answer, Incoming, InferenceRequest, InvalidRequest
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

STREAMS, ANSWERS = streams("completions"), answers("completions")


def parse(**fields: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps({"model": "m", "prompt": "Once", **fields}).encode()))


def asking(*, usage: bool) -> InferenceRequest:
    return parse(stream=True, stream_options={"include_usage": usage})


class TestRequest:
    @pytest.mark.parametrize("prompt", ["Once", "", ["a", "b"], [1, 2], [[1], [2, 3]], None])
    def test_every_shape_of_prompt(self, prompt: Any) -> None:
        assert parse(prompt=prompt).document["prompt"] == prompt

    @pytest.mark.parametrize("prompt", [[], {}, 5, True])
    def test_no_prompt(self, prompt: Any) -> None:
        with pytest.raises(InvalidRequest, match="prompt must be a string or a non-empty list") as refused:
            parse(prompt=prompt)
        assert refused.value.param == "prompt"

    def test_a_stream_is_asked_for_its_usage(self) -> None:
        call = DIALECT.upstream_call(parse(stream=True, suffix="x"), "davinci-002")
        assert call.path == "/completions"
        assert msgspec.json.decode(call.body) == {
            "model": "davinci-002",
            "prompt": "Once",
            "stream": True,
            "suffix": "x",
            "stream_options": {"include_usage": True},
        }

    def test_a_stream_and_a_plain_answer_share_a_key(self) -> None:
        assert DIALECT.canonical(asking(usage=True), ()) == DIALECT.canonical(parse(), ())
        assert DIALECT.canonical(parse(best_of=2), ()) != DIALECT.canonical(parse(), ())

    @pytest.mark.parametrize(
        ("fields", "limit"),
        [
            ({}, None),
            ({"max_tokens": 16}, 16),
            ({"max_tokens": 16, "n": 2}, 32),
            ({"max_tokens": 16, "n": 2, "best_of": 3}, 48),
            ({"max_tokens": 16, "n": 2, "prompt": ["a", "b"]}, 64),
            ({"max_tokens": 16, "prompt": [1, 2, 3]}, 16),
            ({"max_tokens": "16"}, None),
        ],
    )
    def test_the_most_that_it_may_answer(self, fields: dict[str, Any], limit: int | None) -> None:
        assert DIALECT.output_limit(parse(**fields)) == limit


class TestAnswer:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_an_answer_and_its_usage(self, name: str) -> None:
        assert DIALECT.is_answer(parse(), ANSWERS[name])
        report = DIALECT.usage(parse(), ANSWERS[name], {}, 0)
        assert report is not None
        assert report.pools.total == ANSWERS[name]["usage"]["total_tokens"]

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            {},
            {"choices": []},
            {"choices": [{"text": "x", "finish_reason": None}]},
            {"choices": [{"finish_reason": "stop"}]},
            {"choices": [{"text": "x", "finish_reason": "stop"}], "error": {"message": "no"}},
        ],
    )
    def test_what_is_none(self, answer: Any) -> None:
        assert not DIALECT.is_answer(parse(), answer)

    @pytest.mark.parametrize(
        ("fields", "text", "pools"),
        [
            ({"prompt": "12345"}, "123456789", TokenPools(input=2, output=3)),
            ({"prompt": [7, 8, 9]}, "1234", TokenPools(input=3, output=1)),
            ({"prompt": [[7], [8, 9]]}, "1234", TokenPools(input=3, output=1)),
            ({"prompt": ["1", "2"]}, None, TokenPools(input=2)),
            ({"prompt": "1234", "echo": True}, "12345678", TokenPools(input=1, output=1)),
            ({"prompt": None}, "1234", TokenPools(output=1)),
        ],
    )
    def test_an_estimate(self, fields: dict[str, Any], text: Any, pools: TokenPools) -> None:
        assert DIALECT.estimate(parse(**fields), {"choices": [{"text": text}]}) == UsageReport(pools)


class TestStream:
    @pytest.mark.parametrize("name", STREAMS)
    def test_however_it_is_cut(self, name: str) -> None:
        check_every_cut(lambda: DIALECT.stream_reader(asking(usage=True)), STREAMS[name], ANSWERS[name])

    @pytest.mark.parametrize("name", STREAMS)
    def test_a_usage_that_was_not_asked_for_is_cut_out(self, name: str) -> None:
        usage = next(event for event in STREAMS[name].split(b"\n\n") if b'"choices":[]' in event) + b"\n\n"
        check_every_cut(
            lambda: DIALECT.stream_reader(asking(usage=False)), STREAMS[name], ANSWERS[name], usage
        )

    @pytest.mark.parametrize("name", STREAMS)
    def test_cut_short_it_is_no_answer(self, name: str) -> None:
        check_every_end(lambda: DIALECT.stream_reader(asking(usage=False)), STREAMS[name], b"data: [DONE]")

    @pytest.mark.parametrize("chunk", [b'{"choices":[{"text":5}]}', b'{"choices":[{"logprobs":5}]}', b"[]"])
    def test_what_is_no_chunk(self, chunk: bytes) -> None:
        reader = DIALECT.stream_reader(asking(usage=False))
        event = b"data: " + chunk + b"\n\n"
        assert fed(reader, event, STREAMS["vllm"]).startswith(event)
        assert reader.answer() is None


choices = st.fixed_dictionaries(
    {"text": texts, "finish_reason": st.sampled_from(["stop", "length"])},
    optional={
        "logprobs": st.none()
        | st.fixed_dictionaries(
            {
                "tokens": st.lists(texts),
                "top_logprobs": st.lists(st.none() | st.dictionaries(texts, st.integers())),
            }
        ),
        "stop_reason": leaves,
    },
)


@st.composite
def drawn(draw: st.DrawFn) -> dict[str, Any]:
    listed = draw(st.lists(choices, min_size=1, max_size=3))
    return {
        "id": draw(texts),
        "object": "text_completion",
        "created": 5,
        "model": "m",
        **draw(st.dictionaries(st.just("x_extra"), leaves)),
        "choices": [{"index": index, **choice} for index, choice in enumerate(listed)],
        "usage": {"prompt_tokens": draw(st.integers(0, 9)), "completion_tokens": 2},
    }


class TestReplay:
    @settings(deadline=None)
    @given(drawn())
    def test_a_replayed_answer_assembles_to_itself(self, answer: dict[str, Any]) -> None:
        reader = DIALECT.stream_reader(asking(usage=True))
        fed(reader, *CompletionsDialect().replay(asking(usage=True), msgspec.json.encode(answer)))
        assert answer_of(reader) == answer

    def test_openais_own_client_reads_it(self) -> None:
        """But for the null that the API gives an echoed first token, for which the client's types have no place."""
        answer = Answer(
            (JSON,), msgspec.json.encode(ANSWERS["echo"]).replace(b"[null,", b"[").replace(b"null", b"{}")
        )
        *events, closing, end = DIALECT.give(asking(usage=True), answer).body.split(b"\n\n")
        for event in events:
            openai.types.Completion.model_validate_json(event.removeprefix(b"data: "))
        assert (closing, end) == (b"data: [DONE]", b"")
        assert b'"usage"' not in DIALECT.give(asking(usage=False), answer).body
