"""A small but real text model behind OpenAI's API: LitServe with its OpenAI specs, nothing to download.

    python -m examples.upstreams.chat_server --port 9101

`POST /v1/chat/completions` walks a trigram model of `almanac.txt`, seeded by the messages alone: the same
question always gets the same answer, token by token in streams. `POST /v1/embeddings` hashes words and their
trigrams into 64 dimensions of unit length: texts that share words lie close. Usage is counted as in
`examples.upstreams.tokens`.

What LitServe decides for us: every stream ends with a chunk that has `finish_reason` and `usage` together,
asked for or not; `finish_reason` is always "stop"; and each chunk of a stream has an id of its own.
"""

import hashlib
import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import litserve
from fastapi import HTTPException
from litserve.specs.openai import ChatCompletionRequest, ChatMessage
from litserve.specs.openai_embedding import EmbeddingRequest

from examples.upstreams import loopback, serving, tokens

ALMANAC = Path(__file__).with_name("almanac.txt")
DIMENSIONS = 64
DEFAULT_MAX_TOKENS = 48
SENTENCE_ENDS = frozenset(".?!")


class TrigramModel:
    """Which token follows which two, as often as in the text it was built from."""

    def __init__(self, text: str) -> None:
        words = tokens.text_tokens(text)
        self.followers: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for first, second, third in zip(words, words[1:], words[2:], strict=False):
            self.followers[first, second].append(third)
        self.openings = [
            pair for end, *pair in zip(words, words[1:], words[2:], strict=False) if end in SENTENCE_ENDS
        ]

    def generate(self, *, seed: bytes, limit: int) -> Iterator[str]:
        """Yield at most `limit` tokens from the start of a sentence, each with the blank before it."""
        dice = random.Random(seed)
        first, second = dice.choice(self.openings)
        yield from itertools.islice(self._spaced(self._walk(first, second, dice)), limit)

    def _walk(self, first: str, second: str, dice: random.Random) -> Iterator[str]:
        yield first
        yield second
        while followers := self.followers.get((first, second)):
            first, second = second, dice.choice(followers)
            yield second

    @staticmethod
    def _spaced(words: Iterator[str]) -> Iterator[str]:
        yield next(words)
        for word in words:
            yield f" {word}" if word[0].isalnum() else word


def embed(text: str) -> list[float]:
    """Return a text as 64 features of unit length: signed hashes of its words and their trigrams."""
    vector = [0.0] * DIMENSIONS
    for feature, count in Counter(_features(text)).items():
        digest = hashlib.blake2b(feature.encode(), digest_size=8).digest()
        vector[digest[0] % DIMENSIONS] += math.copysign(math.sqrt(count), digest[1] - 127.5)
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]


def _features(text: str) -> Iterator[str]:
    for word in tokens.text_tokens(text.lower()):
        yield word
        padded = f"^{word}$"
        yield from (padded[start : start + 3] for start in range(len(padded) - 2))


def message_text(message: ChatMessage) -> str:
    """Return the text of a message, its text parts joined by line breaks where it has parts."""
    if isinstance(message.content, list):
        return "\n".join(part.text for part in message.content if part.type == "text")
    return message.content or ""


class ChatApi(litserve.LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """Answer chats from the almanac."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Build the model, which takes a few milliseconds."""
        self.model = TrigramModel(ALMANAC.read_text(encoding="utf-8"))

    def decode_request(self, request: ChatCompletionRequest) -> list[str]:
        """Return the chat as lines `role: text`."""
        return [f"{message.role}: {message_text(message)}" for message in request.messages]

    def predict(self, lines: list[str], context: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the answer token by token; usage goes with the last, since LitServe adds up what it gets."""
        prompt = "\n".join(lines)
        limit = context.get("max_completion_tokens") or context.get("max_tokens") or DEFAULT_MAX_TOKENS
        answer = list(self.model.generate(seed=prompt.encode(), limit=limit))
        for token in answer[:-1]:
            yield {"role": "assistant", "content": token}
        usage = {"prompt_tokens": len(tokens.text_tokens(prompt)), "completion_tokens": len(answer)}
        yield {"role": "assistant", "content": answer[-1], **usage, "total_tokens": sum(usage.values())}


class EmbeddingApi(litserve.LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """Embed one text or a list of them."""

    def setup(self, device: str) -> None:
        """Do nothing: hashing has no weights."""

    def decode_request(self, request: EmbeddingRequest) -> list[str]:
        """Return the texts to embed.

        Raises:
            HTTPException: 400 for token ids and for a number of dimensions other than 64.
        """
        texts = [request.input] if isinstance(request.input, str) else request.input
        if not all(isinstance(text, str) for text in texts):
            raise HTTPException(400, "'input' must be text: this model has no token ids")
        if request.dimensions not in (None, DIMENSIONS):
            raise HTTPException(400, f"this model has {DIMENSIONS} dimensions")
        return list(texts)

    def predict(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the vectors and what was read to make them."""
        read = sum(len(tokens.text_tokens(text)) for text in texts)
        return {"embeddings": [embed(text) for text in texts], "prompt_tokens": read, "total_tokens": read}

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the output as it is: the spec takes it from here."""
        return output


def main() -> None:
    """Serve until told to stop."""
    told = "Serve a trigram chat model and hashed embeddings on loopback."
    options = loopback.port_parser(told, default=9101).parse_args()
    chat = ChatApi(spec=litserve.OpenAISpec())
    embeddings = EmbeddingApi(spec=litserve.OpenAIEmbeddingSpec())
    serving.serve(name="Chat and embeddings", apis=[chat, embeddings], port=options.port)


if __name__ == "__main__":
    main()
