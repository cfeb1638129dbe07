"""OpenAI's own client, and plain HTTP, against the example server of sentence embeddings."""

import json
import math
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

TEXTS = ["The clerk writes every sale down.", "Each sale is noted by the clerk.", "Bees like warm air."]


@pytest.fixture
def client(embedding_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{embedding_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def predict(url: str, asked: dict[str, Any]) -> Any:
    body = json.dumps(asked).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_what_means_the_same_lies_close(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="all-MiniLM-L6-v2", input=TEXTS)
    first, like, unlike = (item.embedding for item in answer.data)
    assert len(first) == 384
    assert math.hypot(*first) == pytest.approx(1, abs=1e-5)
    assert _dot(first, like) > 0.7 > 0.3 > _dot(first, unlike)
    assert answer.usage.prompt_tokens == 9 + 10 + 7


def test_a_text_alone_is_as_in_a_list(client: openai.OpenAI) -> None:
    many = client.embeddings.create(model="all-MiniLM-L6-v2", input=TEXTS)
    alone = client.embeddings.create(model="all-MiniLM-L6-v2", input=TEXTS[2])
    assert alone.data[0].embedding == pytest.approx(many.data[2].embedding, abs=1e-6)


def test_similarities_are_the_vectors_cosines(client: openai.OpenAI, embedding_url: str) -> None:
    query, *texts = TEXTS
    told = predict(embedding_url, {"query": query, "texts": texts})
    first, *others = (item.embedding for item in client.embeddings.create(model="m", input=TEXTS).data)
    assert told["similarities"] == pytest.approx([_dot(first, other) for other in others], abs=1e-5)
    assert told["usage"] == {"input_tokens": 26}


@pytest.mark.parametrize(
    "asked", [{}, {"query": "a"}, {"query": "a", "texts": []}, {"query": 1, "texts": ["a"]}]
)
def test_what_it_cannot_weigh(embedding_url: str, asked: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        predict(embedding_url, asked)
    with refusal.value as response:
        assert response.code == 400
        assert b"'query' must be a text" in response.read()


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"input": [1, 2]}, "must be text"), ({"input": "a", "dimensions": 64}, "384 dimensions")],
)
def test_what_it_cannot_embed(client: openai.OpenAI, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.embeddings.create(model="m", **asked)
    assert told in refusal.value.response.text


def _dot(left: list[float], right: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))
