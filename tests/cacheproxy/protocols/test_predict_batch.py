import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.batch import MAX_ITEMS
from cacheproxy.protocols.predict import DIALECT
from cacheproxy.protocols.predict_batch import PredictBatch, predict_batch
from cacheproxy.protocols.request import Incoming, InferenceRequest
from metering.provider_usage import UsageReport
from tests.cacheproxy.protocols.batches import check
from tests.cacheproxy.protocols.streams import leaves


def parse(document: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps(document).encode(), model="ocr"))


def batch_of(document: Any, pointer: str = "/instances") -> PredictBatch:
    batch = predict_batch(parse(document), pointer)
    assert batch is not None
    return batch


def parts(request: InferenceRequest) -> list[Any]:
    return [{"seen": item} for item in request.document["instances"]]


def bare(request: InferenceRequest) -> Any:
    return parts(request)


def tensorflow(request: InferenceRequest) -> Any:
    return {"predictions": parts(request), "model_version": "1"}


def counted(request: InferenceRequest) -> Any:
    count = len(request.document["instances"])
    usage = {"input_tokens": 7 * count, "output_tokens": count, "details": {"pages": count, "unit": "page"}}
    return {"results": parts(request), "usage": usage, "shape": [3, 4, 5, 6, 7, 8, 9, 10, 11]}


def same_place(request: InferenceRequest) -> Any:
    return {"instances": parts(request), "a/b~c": len("constant")}


SERVERS: list[Callable[[InferenceRequest], Any]] = [bare, tensorflow, counted, same_place]


@settings(deadline=None)
@given(st.sampled_from(SERVERS), st.lists(leaves, min_size=1, max_size=6), st.sets(st.integers(0, 5)))
def test_parts_make_the_whole(serve: Any, items: list[Any], cached: set[int]) -> None:
    document = {"instances": items, "lang": "en"}
    places = sorted(place for place in cached if place < len(items))
    check(batch_of(document), parse(document), serve, lambda _, __: UsageReport(), places)


def test_the_list_may_be_the_document_or_deep_inside() -> None:
    assert [item.document for item in batch_of([1, 2], "").items] == [[1], [2]]
    deep = batch_of({"a": {"b": [1, 2]}, "c": 3}, "/a/b")
    assert [item.document for item in deep.items] == [{"a": {"b": [1]}, "c": 3}, {"a": {"b": [2]}, "c": 3}]


def test_an_item_has_the_key_that_it_has_alone() -> None:
    items = batch_of({"instances": [1, 2]}).items
    assert DIALECT.canonical(items[1], ()) == DIALECT.canonical(parse({"instances": [2]}), ())


def test_the_list_of_an_answer_may_stand_where_the_requests_does() -> None:
    batch = batch_of({"in": {"list": [1, 2]}}, "/in/list")
    answer = {"in": {"list": ["a", "b"]}}
    assert batch.split([0, 1], answer) == [b'{"in":{"list":["a"]}}', b'{"in":{"list":["b"]}}']


@pytest.mark.parametrize(
    "answer",
    [
        {"predictions": [1]},
        {"predictions": [1, 2, 3]},
        {"one": [1, 2], "other": [3, 4]},
        {"instances": 5},
        [1],
        "text",
        None,
        {"predictions": [1, 2], "labels": ["x"]},  # told apart now, but not in an item's answer
    ],
)
def test_a_list_that_cannot_be_told(answer: Any) -> None:
    with pytest.raises(ValueError, match="list"):
        batch_of({"instances": [1, 2]}).split([0, 1], answer)


def test_answers_that_do_not_fit_together() -> None:
    with pytest.raises(ValueError, match="different places"):
        batch_of({"instances": [1, 2]}).join([b'{"a":[1]}', b'{"b":[2]}'], UsageReport())


@pytest.mark.parametrize("document", [{}, [], 5, {"instances": 5}, {"instances": []}, {"instances": {}}])
def test_what_is_no_batch(document: Any) -> None:
    assert predict_batch(parse(document), "/instances") is None


def test_only_documents_whose_policy_names_a_list_are_batches() -> None:
    assert DIALECT.batch(parse({"instances": [1, 2]}), None) is None
    assert DIALECT.batch(parse({"instances": [1, 2]}), "/instances") is not None
    picture = DIALECT.parse(Incoming(b"GIF89a", {b"content-type": b"image/gif"}, model="ocr"))
    assert DIALECT.batch(picture, "") is DIALECT.batch(picture, "/instances") is None


def test_beyond_the_bounds_a_request_stays_whole() -> None:
    assert predict_batch(parse({"instances": [0] * (MAX_ITEMS + 1)}), "/instances") is None
    assert predict_batch(parse({"instances": [0] * 100, "image": "A" * 200_000}), "/instances") is None
