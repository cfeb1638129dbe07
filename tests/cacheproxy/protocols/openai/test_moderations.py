import json
from typing import Any

import msgspec
import pytest

from cacheproxy.protocols.openai.moderations import DEFAULT_MODEL, DIALECT
from cacheproxy.protocols.request import Incoming, InferenceRequest, InvalidRequest
from metering.tokens import TokenPools

PARTS = [{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "data:,"}}]


def parse(**fields: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps({"input": "Hello", **fields}).encode()))


def test_it_goes_to_the_surface() -> None:
    call = DIALECT.upstream_call(parse(model="m", x_extra=1), "omni")
    assert call.path == "/moderations"
    assert msgspec.json.decode(call.body) == {"model": "omni", "input": "Hello", "x_extra": 1}


def test_the_model_may_be_left_to_openai() -> None:
    assert parse().model == parse(model=None).model == DEFAULT_MODEL
    assert DIALECT.canonical(parse(), ()) == DIALECT.canonical(parse(model="m"), ())


@pytest.mark.parametrize(
    "fields", [{"input": ""}, {"input": []}, {"input": None}, {"model": ""}, {"model": 5}]
)
def test_what_cannot_be_understood(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(**fields)
    assert refused.value.param in fields


@pytest.mark.parametrize(
    ("given", "results", "expected"),
    [("a", 1, True), (["a", "b"], 2, True), (PARTS, 1, True), ("a", 0, False), (["a", "b"], 1, False)],
)
def test_every_text_has_its_result(given: Any, results: int, expected: bool) -> None:
    answer = {"id": "modr-1", "model": "omni", "results": [{"flagged": False}] * results}
    assert DIALECT.is_answer(parse(input=given), answer) is expected
    assert not DIALECT.is_answer(parse(input=given), {**answer, "error": {"message": "no"}})
    assert not DIALECT.is_answer(parse(input=given), None)


def test_usage_is_estimated() -> None:
    assert DIALECT.usage(parse(), {"results": [{}]}, {}, 0) is None
    assert DIALECT.estimate(parse(input=PARTS), None).pools == TokenPools(input=1)
