"""Fixtures of the semantic tier's tests."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cacheproxy.semantic.minilm.encoder import LocalEncoder

MODELS = Path(os.environ["ZERORATE_HOME"]) / "models"
"""Kept between runs, as they are in production."""


@pytest.fixture(scope="session")
def exact_encoder() -> Iterator[LocalEncoder]:
    """Give the local encoder in float32."""
    encoder = LocalEncoder.open(MODELS, quantised=False)
    yield encoder
    encoder.close()


@pytest.fixture(scope="session")
def quantised_encoder() -> Iterator[LocalEncoder]:
    """Give the local encoder as the product has it."""
    encoder = LocalEncoder.open(MODELS)
    yield encoder
    encoder.close()


@pytest.fixture
async def encoder() -> AsyncIterator[LocalEncoder]:
    """Give a local encoder of the test's own."""
    encoder = LocalEncoder.open(MODELS)
    yield encoder
    encoder.close()
