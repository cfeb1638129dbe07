import math
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from examples.upstreams import tokens

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What does the clerk write?"}]


@pytest.fixture
def client(chat_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{chat_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_same_question_gets_the_same_answer_and_another_does_not(client: openai.OpenAI) -> None:
    first, again = (client.chat.completions.create(model="m", messages=QUESTION) for _ in range(2))
    other = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "And the baker?"}]
    )
    assert first.choices == again.choices
    assert first.choices[0].message.content != other.choices[0].message.content


def test_a_stream_brings_the_same_answer_in_pieces_with_the_same_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="m", messages=QUESTION)
    options: openai.types.chat.ChatCompletionStreamOptionsParam = {"include_usage": True}
    with client.chat.completions.create(
        model="m", messages=QUESTION, stream=True, stream_options=options
    ) as s:
        chunks = list(s)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 10
    assert chunks[-1].usage == whole.usage


def test_usage_can_be_recounted_from_the_texts(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=QUESTION)
    assert answer.usage
    assert answer.usage.prompt_tokens == len(tokens.text_tokens("user: What does the clerk write?"))
    assert answer.usage.completion_tokens == len(tokens.text_tokens(answer.choices[0].message.content or ""))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_max_tokens_is_kept(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=QUESTION, max_tokens=5)
    assert answer.usage
    assert answer.usage.completion_tokens == 5


def test_embeddings_have_unit_length_and_put_like_texts_close(client: openai.OpenAI) -> None:
    texts = ["the clerk writes every sale", "every sale is written by the clerk", "bees like warm air"]
    answer = client.embeddings.create(model="e", input=texts)
    first, like, unlike = (item.embedding for item in answer.data)
    assert len(first) == 64
    assert math.isclose(math.hypot(*first), 1, abs_tol=1e-6)
    assert _dot(first, like) > 0.5 > _dot(first, unlike)
    assert answer.usage.prompt_tokens == 5 + 7 + 4


def test_token_ids_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.embeddings.create(model="e", input=[1, 2])
    assert "no token ids" in refusal.value.response.text


def _dot(left: list[float], right: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))
