"""What an encoder is: texts in, unit vectors out."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""One row for each text, of length 1, so that a product of two rows is their cosine."""


class Encoder(Protocol):
    """A model of sentences."""

    @property
    def name(self) -> str:
        """Which vectors these are: those of two names are never compared."""

    @property
    def dimensions(self) -> int:
        """The length of a row."""

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of *texts*, in order.

        Raises:
            EncoderBusy, EncoderFailed: there are none to be had now.
        """
