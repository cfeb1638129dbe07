"""The verifier that ships, for all of its tests."""

import pytest

from cacheproxy.semantic.verifier import Verifier


@pytest.fixture(scope="session")
def verifier() -> Verifier:
    """Give the verifier, loaded once."""
    return Verifier.load()
