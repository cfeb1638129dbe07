"""May the answer to a stored question serve a new one? Guards first, then a learned score. Plain, fast, thread-safe.

verifier = Verifier.load()
new = verifier.read(text, vector)            # once a text; `new.pack()` keeps it beside its vector
verdict = verifier.judge(new, Reading.unpack(stored), cosine)
if verdict.refused_by is None and verdict.score >= threshold: ...
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.alignment import Pair
from cacheproxy.semantic.arrays import read_arrays
from cacheproxy.semantic.errors import StaleReading
from cacheproxy.semantic.features import figures
from cacheproxy.semantic.forest import Forest
from cacheproxy.semantic.guards import refused_by
from cacheproxy.semantic.knowledge import Floats, Knowledge
from cacheproxy.semantic.question import Question, read
from cacheproxy.semantic.territory import Territory
from cacheproxy.semantic.thesaurus import thesaurus

FORMAT = 3
"""Goes up when readings or model files made before mean something else now."""
DEFAULT_MODEL = Path(__file__).with_name("verifier.npz")


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """All that is known of one text: a few hundred bytes."""

    format: int
    question: Question
    sketch: bytes
    """The vector on its main axes, as 16-bit floats."""

    def pack(self) -> bytes:
        """Return the reading as bytes to keep beside the vector."""
        return _encoder.encode(self)

    @classmethod
    def unpack(cls, packed: bytes) -> "Reading":
        """Return the reading that `pack` made.

        Raises:
            StaleReading: another format made it, or the bytes are none.
        """
        try:
            reading = _decoder.decode(packed)
        except msgspec.DecodeError as error:
            raise StaleReading(f"not a reading: {error}") from error
        if reading.format != FORMAT:
            raise StaleReading(f"a reading of format {reading.format}, not {FORMAT}")
        return reading


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reading)


class Verdict(NamedTuple):
    """What is thought of a pair."""

    score: float
    """How likely, 0 to 1, people would call the two one question, in the traffic that the card states; 0 where
    refused."""
    refused_by: str | None
    """The guard that refused, as statistics name it; None where the score decides."""


class Tuning(NamedTuple):
    """What turns the sum of the trees into a score: the log odds are slope × sum + shift."""

    slope: float
    shift: float
    threshold: float
    """The lowest score that keeps the default budget."""


class Verifier:
    """A trained model, loaded. Holds no text that it was trained on."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.knowledge = Knowledge(arrays)
        self.encoder = str(arrays["encoder"])
        """The name of the encoder whose vectors it knows."""
        self.tuning = Tuning(*(float(number) for number in arrays["tuning"]))
        self._forest = Forest(arrays)
        self._territory = Territory(arrays)
        self._mean = arrays["sketch_mean"].astype(np.float32)
        self._axes = arrays["sketch_axes"].astype(np.float32)

    @classmethod
    def load(cls, path: Path = DEFAULT_MODEL) -> "Verifier":
        """Return the model in *path*, by default the one that ships.

        Raises:
            InvalidVerifier: it is no model, or of another format; or the thesaurus is none.
        """
        arrays = read_arrays(path, expected_format=FORMAT)
        thesaurus()  # which readings need, so that none waits for it
        return cls(arrays)

    @property
    def threshold(self) -> float:
        """Return the score from which on a hit keeps the default budget, in the traffic that the card states."""
        return self.tuning.threshold

    def read(self, text: str, vector: Floats) -> Reading:
        """Return the reading of *text* whose unit *vector* the verifier's encoder gave."""
        return Reading(FORMAT, read(text), sketch(vector, self._mean, self._axes).tobytes())

    def judge(self, new: Reading, stored: Reading, cosine: float) -> Verdict:
        """Return whether a guard refuses the pair, or else how likely the two ask the same."""
        pair = Pair(new.question, stored.question)
        refused = refused_by(pair)
        if refused is not None:
            return Verdict(0.0, refused)
        sketches = unpacked(new.sketch), unpacked(stored.sketch)
        told = np.array(self._territory.figures(*sketches), np.float32)
        logit = self._forest.logit(np.concatenate([figures(pair, cosine, sketches, self.knowledge), told]))
        return Verdict(1 / (1 + math.exp(-self.tuning.slope * logit - self.tuning.shift)), None)


def sketch(vectors: Floats, mean: Floats, axes: Floats) -> NDArray[np.float16]:
    """Return *vectors* on their main *axes*, from their *mean*."""
    return ((vectors - mean) @ axes).astype(np.float16)


def unpacked(packed: bytes) -> Floats:
    """Return a sketch as numbers."""
    return np.frombuffer(packed, np.float16).astype(np.float32)
