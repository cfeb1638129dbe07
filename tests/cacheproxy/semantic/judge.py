"""A judge for tests: real, and simple enough to know beforehand what it says."""

from typing import NamedTuple

import numpy as np
import pytest

from cacheproxy.semantic.errors import SemanticError
from cacheproxy.semantic.tier import Vector


class Words(NamedTuple):
    """A reading as the judge of these tests has it."""

    text: str

    def pack(self) -> bytes:
        return self.text.encode()


class Opinion(NamedTuple):
    score: float
    refused_by: str | None


class WordJudge:
    """Sure of what is near, and strict about numbers."""

    def __init__(self, encoder: str) -> None:
        self.encoder = encoder
        self.cosines: list[float] = []

    def read(self, text: str, vector: Vector) -> Words:
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)
        return Words(text)

    def judge(self, new: Words, stored: Words, cosine: float) -> Opinion:
        self.cosines.append(cosine)
        if ("2" in new.text) != ("2" in stored.text):
            return Opinion(0.0, "number")
        return Opinion(0.995 if cosine > 0.9 else 0.3, None)


def unpack(packed: bytes) -> Words:
    if packed == b"old":
        raise SemanticError("another release wrote it")
    return Words(packed.decode())
