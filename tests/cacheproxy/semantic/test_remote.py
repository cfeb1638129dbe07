"""Vectors from a model of the catalog."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pytest

from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.semantic.errors import EncoderFailed
from cacheproxy.semantic.remote import RemoteEmbedder
from tests.cacheproxy.gateway.upstreams.conftest import SETTINGS, make_model, make_target
from tests.fakes.upstream import FakeUpstream, answer, html


def rows(*vectors: list[float], first: int = 0) -> list[Mapping[str, Any]]:
    return [
        {"object": "embedding", "index": first + i, "embedding": vector} for i, vector in enumerate(vectors)
    ]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Give a model server."""
    upstream = FakeUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def embedder(upstream: FakeUpstream) -> AsyncIterator[RemoteEmbedder]:
    """Give an embedder of the model that it serves."""
    upstreams = Upstreams(SETTINGS)
    await upstreams.start()
    models = {"bge": make_model(make_target(upstream.url), name="bge")}
    yield RemoteEmbedder("bge", models.get, upstreams)
    await upstreams.stop()


async def test_texts_become_unit_vectors_in_their_order_and_are_paid_for(
    upstream: FakeUpstream, embedder: RemoteEmbedder
) -> None:
    shuffled = list(reversed(rows([3.0, 4.0], [0.0, 2.0])))
    upstream.then(answer({"data": shuffled, "usage": {"prompt_tokens": 9, "total_tokens": 9}}))
    embedded = await embedder.embed(["one", "two"])
    assert np.allclose(embedded.vectors, [[0.6, 0.8], [0.0, 1.0]])
    assert embedded.tokens == 9
    assert upstream.received[0].path == "/embeddings"
    assert upstream.received[0].document == {"model": "small", "input": ["one", "two"]}
    assert embedder.name == "bge@1"


@pytest.mark.parametrize(
    "wrong",
    [
        answer({"error": {"message": "no"}}, status=500),
        answer({"data": rows([1.0, 0.0]), "usage": {"prompt_tokens": 1}}),
        answer({"data": rows([1.0], [1.0], first=1)}),
        answer({"data": rows([1.0, 0.0], [1.0])}),
        answer({"data": rows([1.0, 0.0], [0.0, 0.0])}),
        answer({"choices": []}),
        html(),
    ],
)
async def test_what_is_no_answer_to_the_question_gives_no_vectors(
    upstream: FakeUpstream, embedder: RemoteEmbedder, wrong: Any
) -> None:
    upstream.then(wrong)
    with pytest.raises(EncoderFailed):
        await embedder.embed(["one", "two"])


async def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(EncoderFailed, match="no model bge"):
        await RemoteEmbedder("bge", lambda _name: None, Upstreams(SETTINGS)).embed(["one"])
