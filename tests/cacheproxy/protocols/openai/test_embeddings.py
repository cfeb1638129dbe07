import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.batch import MAX_ITEMS
from cacheproxy.protocols.openai.embeddings import DIALECT
from cacheproxy.protocols.request import Incoming, InferenceRequest, InvalidRequest
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools
from tests.cacheproxy.protocols.batches import check
from tests.cacheproxy.protocols.streams import texts


def embeddings(given: Any, **fields: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps({"model": "m", "input": given, **fields}).encode()))


@pytest.mark.parametrize("given", ["text", ["a", "b"], [1, 2], [[1], [2]]])
def test_every_shape_of_input(given: Any) -> None:
    assert embeddings(given).document["input"] == given


@pytest.mark.parametrize("given", ["", [], 5, {}])
def test_an_embedding_of_nothing(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="input must be a non-empty string or list"):
        embeddings(given)


@pytest.mark.parametrize(
    ("given", "vectors", "expected"),
    [
        ("a", [[0.1]], True),
        ("a", ["base64=="], True),
        (["a", "b"], [[0.1], [0.2]], True),
        ([1, 2, 3], [[0.1]], True),
        (["a", "b"], [[0.1]], False),
        ("a", [[]], False),
        ("a", [], False),
    ],
)
def test_embeddings_need_one_for_each_input(given: Any, vectors: list[Any], expected: bool) -> None:
    answer = {"object": "list", "data": [{"index": i, "embedding": v} for i, v in enumerate(vectors)]}
    assert DIALECT.is_answer(embeddings(given), answer) is expected


def test_embeddings() -> None:
    report = DIALECT.usage(embeddings("x"), {"usage": {"prompt_tokens": 3, "total_tokens": 3}}, {}, 0)
    assert report == UsageReport(TokenPools(input=3))


def test_a_metering_rule_takes_the_place_of_the_report() -> None:
    answer = {"usage": {"prompt_tokens": 3, "total_tokens": 3}}
    assert DIALECT.usage(embeddings(["a", "b"]), answer, {"units": {"per_item": "/input"}}, 0) == UsageReport(
        units=2
    )


@pytest.mark.parametrize(
    ("given", "tokens"), [("12345", 2), (["1234", "12345"], 3), ([5, 6, 7], 3), ([[5], [6, 7]], 3)]
)
def test_embeddings_count_each_input(given: Any, tokens: int) -> None:
    assert DIALECT.estimate(embeddings(given), {}) == UsageReport(TokenPools(input=tokens))


def test_they_go_to_the_surface() -> None:
    assert DIALECT.upstream_call(embeddings("x"), "m").path == "/embeddings"


def serve(request: InferenceRequest) -> Any:
    """Answer each input by itself alone."""
    given, encoding = request.document["input"], request.document.get("encoding_format")
    data = []
    for index, text in enumerate(given if isinstance(given, list) else [given]):
        vector = (
            base64.b64encode(json.dumps(text).encode()).decode()
            if encoding
            else [len(json.dumps(text)) / 7, 0.1]
        )
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = 3 * len(data)
    return {
        "object": "list",
        "data": data,
        "model": "m",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def batch_of(given: Any, **fields: Any) -> Any:
    return DIALECT.batch(embeddings(given, **fields), None)


class TestBatch:
    @settings(deadline=None)
    @given(
        st.lists(texts, min_size=2, max_size=6)
        | st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=2, max_size=6),
        st.sets(st.integers(0, 5)),
        st.sampled_from([{}, {"encoding_format": "base64"}]),
    )
    def test_parts_make_the_whole(self, given: list[Any], cached: set[int], fields: dict[str, str]) -> None:
        request = embeddings(given, **fields)
        places = sorted(place for place in cached if place < len(given))
        check(
            batch_of(given, **fields),
            request,
            serve,
            lambda _, answer: DIALECT.usage(request, answer, {}, 0),
            places,
        )

    @pytest.mark.parametrize("given", ["a", ["a"], [1, 2], [[1, 2]]])
    def test_a_single_input_is_no_batch(self, given: Any) -> None:
        assert batch_of(given) is None

    def test_an_item_has_the_key_of_its_input_alone(self) -> None:
        first, second = (DIALECT.canonical(item, ()) for item in batch_of(["a", "b"]).items)
        assert first == DIALECT.canonical(embeddings("a"), ()) == DIALECT.canonical(embeddings(["a"]), ())
        assert second == DIALECT.canonical(embeddings("b"), ()) != first
        tokens = DIALECT.canonical(batch_of([[1, 2], [3]]).items[0], ())
        assert tokens == DIALECT.canonical(embeddings([1, 2]), ())

    def test_encodings_stay_apart(self) -> None:
        keys = {DIALECT.canonical(embeddings("a", encoding_format=name), ()) for name in ("float", "base64")}
        assert len(keys) == 2

    def test_vectors_come_in_any_order(self) -> None:
        answer = serve(embeddings(["a", "bbbb"]))
        shuffled = {**answer, "data": answer["data"][::-1]}
        assert batch_of(["a", "bbbb"]).split([0, 1], shuffled) == batch_of(["a", "bbbb"]).split(
            [0, 1], answer
        )

    @pytest.mark.parametrize(
        "data", [None, [], [{"index": 0}], [{"index": 0}] * 2, [{"index": "0"}, {"index": 1}], [5, 6]]
    )
    def test_an_answer_without_a_vector_for_each(self, data: Any) -> None:
        with pytest.raises(ValueError, match="answer"):
            batch_of(["a", "b"]).split([0, 1], {"data": data})

    def test_numbers_are_kept_as_they_are_spelled(self) -> None:
        body = b'{"data":[{"index":0,"embedding":[1e-3,0.10]}],"usage":{"total_tokens":1}}'
        joined = batch_of(["a", "b"]).join([body, body], UsageReport(TokenPools(input=2)))
        assert joined.count(b'"embedding":[1e-3,0.10]') == 2
        assert b'"usage":{"total_tokens":2,"prompt_tokens":2}' in joined

    def test_beyond_the_bounds_a_request_stays_whole(self) -> None:
        assert batch_of(["x"] * (MAX_ITEMS + 1)) is None
        assert batch_of(["x"] * 100, instructions="i" * 200_000) is None
