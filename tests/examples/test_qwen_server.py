"""OpenAI's own client against the example server of a Qwen model, and the checkpoint that it builds."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.examples.conftest import QWEN

CHAT: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How is an invoice finalised? Grüße, 你好"},
]
LABELS = {"structured_outputs": {"choice": ["positive", "negative"]}}
CHAT_AS_TEXT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n"
    "<|im_start|>user\nHow is an invoice finalised? Grüße, 你好<|im_end|>\n"
    "<|im_start|>assistant\n"
)
COUNT = """
import sys, tokenizers
file, *texts = sys.argv[1:]
tokenizer = tokenizers.Tokenizer.from_file(file)
print(*(len(tokenizer.encode(text).ids) for text in texts))
"""


@pytest.fixture
def client(qwen_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{qwen_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_likeliest_answer_is_always_the_same(client: openai.OpenAI) -> None:
    first, again = (
        client.chat.completions.create(model="qwen", messages=CHAT, temperature=0, max_tokens=12)
        for _ in "ab"
    )
    assert first.choices == again.choices
    assert first.choices[0].finish_reason == "length"
    assert first.usage
    assert first.usage.completion_tokens == 12


def test_a_seed_repeats_what_was_drawn(client: openai.OpenAI) -> None:
    def drawn(seed: int) -> str | None:
        answer = client.chat.completions.create(model="qwen", messages=CHAT, seed=seed, max_tokens=12)
        return answer.choices[0].message.content

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_stream_is_the_same_answer_in_pieces_with_the_same_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="qwen", messages=CHAT, temperature=0, max_tokens=24)
    with client.chat.completions.create(
        model="qwen",
        messages=CHAT,
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    pieces = [
        chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content
    ]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 3
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage


def test_usage_is_what_the_tokenizer_counts(client: openai.OpenAI, qwen_checkpoint: Path) -> None:
    answer = client.chat.completions.create(model="qwen", messages=CHAT, extra_body=LABELS)
    text = answer.choices[0].message.content
    assert text
    assert answer.usage
    counted = subprocess.run(
        [QWEN, "-c", COUNT, qwen_checkpoint / "tokenizer.json", CHAT_AS_TEXT, text],
        capture_output=True,
        text=True,
        check=True,
    )
    assert counted.stdout.split() == [str(answer.usage.prompt_tokens), str(answer.usage.completion_tokens)]


@pytest.mark.parametrize("streamed", [False, True])
def test_choices_make_it_a_classifier(client: openai.OpenAI, streamed: bool) -> None:
    answer = client.chat.completions.create(model="qwen", messages=CHAT, extra_body=LABELS, stream=streamed)
    text = (
        "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        if isinstance(answer, openai.Stream)
        else answer.choices[0].message.content
    )
    assert text in LABELS["structured_outputs"]["choice"]


def test_who_hangs_up_does_not_keep_the_next_waiting(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="qwen", messages=CHAT, max_tokens=3500, stream=True) as stream:
        next(iter(stream))
    started = time.monotonic()
    client.chat.completions.create(model="qwen", messages=CHAT, max_tokens=2)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({"model": "llama"}, 404, "no model 'llama'"),
        ({"n": 2}, 400, "one answer"),
        ({"stop": ["."]}, 400, "'stop'"),
        ({"temperature": 3}, 400, "'temperature'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "is text"),
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, 400, "more than 4096"),
    ],
)
def test_what_it_refuses(client: openai.OpenAI, asked: dict[str, object], status: int, told: str) -> None:
    with pytest.raises(openai.APIStatusError, match=told) as refusal:
        client.post("/chat/completions", body={"model": "qwen", "messages": CHAT, **asked}, cast_to=object)
    assert refusal.value.status_code == status
