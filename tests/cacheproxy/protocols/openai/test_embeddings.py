import json
from typing import Any

import pytest

from cacheproxy.protocols.openai.embeddings import DIALECT
from cacheproxy.protocols.request import Incoming, InferenceRequest, InvalidRequest
from metering.provider_usage import UsageReport
from metering.tokens import TokenPools


def embeddings(given: Any) -> InferenceRequest:
    return DIALECT.parse(Incoming(json.dumps({"model": "m", "input": given}).encode()))


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
