import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import ImageGenCompletedEvent, ImagesResponse

from cacheproxy.protocols import sse
from cacheproxy.protocols.openai.images import DIALECT
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
from tests.cacheproxy.protocols.streams import texts

STREAM, ANSWER = streams("images")["one"], answers("images")["one"]
COMPLETED = STREAM[STREAM.index(b"event: image_generation.completed") :]


def parse(**fields: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps({"model": "m", "prompt": "A cat", **fields}).encode()))


def canonical(**fields: Any) -> bytes:
    return DIALECT.canonical(parse(**fields), ())


def test_it_goes_to_the_surface() -> None:
    call = DIALECT.upstream_call(parse(size="auto"), "gpt-image-2")
    assert call.path == "/images/generations"
    assert msgspec.json.decode(call.body) == {"model": "gpt-image-2", "prompt": "A cat", "size": "auto"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
    ],
)
def test_what_cannot_be_understood(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(**fields)
    assert (refused.value.code, refused.value.param) == ("invalid_field", param)


def test_previews_do_not_change_the_image() -> None:
    assert canonical(stream=True, partial_images=2) == canonical()
    assert canonical(quality="low") != canonical()
    assert DIALECT.cacheable(parse())


def test_an_answer_names_its_own_caller() -> None:
    assert canonical(user="u1") == canonical(user="u2") != canonical()
    kept = Answer((JSON,), msgspec.json.encode({**ANSWER, "safety_identifier": "u1"}))
    assert msgspec.json.decode(DIALECT.give(parse(user="u2"), kept).body)["safety_identifier"] == "u2"
    silent = Answer((JSON,), msgspec.json.encode(ANSWER))
    assert msgspec.json.decode(DIALECT.give(parse(user="u2"), silent).body) == ANSWER


class TestAnswer:
    def test_an_answer_and_its_usage(self) -> None:
        ImagesResponse.model_validate(ANSWER)
        assert DIALECT.is_answer(parse(), ANSWER)
        assert DIALECT.usage(parse(), ANSWER, {}, 0) == UsageReport(TokenPools(input=12, output=272))
        assert DIALECT.estimate(parse(), ANSWER).pools == TokenPools(input=2)

    def test_without_a_report_the_images_are_counted(self) -> None:
        answer = {"created": 1, "data": [{"url": "https://a.example/1"}, {"url": "https://a.example/2"}]}
        assert DIALECT.is_answer(parse(), answer)
        assert DIALECT.usage(parse(), answer, {}, 0) == UsageReport(units=2)
        assert DIALECT.usage(parse(), {"error": {}}, {}, 0) is None

    def test_links_do_not_last(self) -> None:
        assert DIALECT.lasts(parse(), ANSWER)
        assert not DIALECT.lasts(parse(), {"data": [{"url": "https://a.example/1"}]})

    @pytest.mark.parametrize(
        "answer",
        [None, {}, {"data": []}, {"data": [{}]}, {**ANSWER, "error": {"message": "no"}}, {"data": ["x"]}],
    )
    def test_what_is_none(self, answer: Any) -> None:
        assert not DIALECT.is_answer(parse(), answer)


class TestStream:
    def test_however_it_is_cut(self) -> None:
        check_every_cut(lambda: DIALECT.stream_reader(parse(stream=True)), STREAM, ANSWER)

    def test_cut_short_it_is_no_answer(self) -> None:
        closing = b"event: image_generation.completed"
        check_every_end(lambda: DIALECT.stream_reader(parse(stream=True)), STREAM, closing)
        assert DIALECT.stream_reader(parse()).so_far() == {}

    def test_of_several_images_the_last_closes(self) -> None:
        reader = DIALECT.stream_reader(parse(stream=True, n=2))
        assert reader.feed(COMPLETED) == COMPLETED
        assert not reader.finished
        assert reader.feed(COMPLETED) == b""
        answer = answer_of(reader)
        assert len(answer["data"]) == 2
        assert answer["usage"] == {"input_tokens": 24, "output_tokens": 544, "total_tokens": 568}

    @settings(deadline=None)
    @given(st.lists(texts.filter(bool), min_size=1, max_size=3), st.booleans())
    def test_a_replayed_answer_is_itself_again(self, images: list[str], silent: bool) -> None:
        answer = {**ANSWER, "data": [{"b64_json": image} for image in images]}
        if silent:
            del answer["usage"]
        request = parse(stream=True, n=len(images))
        reader = DIALECT.stream_reader(request)
        fed(reader, DIALECT.give(request, Answer((JSON,), msgspec.json.encode(answer))).body)
        assert answer_of(reader) == answer

    def test_openais_own_client_reads_what_is_replayed(self) -> None:
        body = DIALECT.give(parse(stream=True), Answer((JSON,), msgspec.json.encode(ANSWER))).body
        name, data = sse.fields(body)
        assert name == b"image_generation.completed"
        ImageGenCompletedEvent.model_validate_json(data)
