"""Pairs for the tests of guards and of the score."""

from cacheproxy.semantic.alignment import Pair
from cacheproxy.semantic.question import read


def pair(new: str, stored: str) -> Pair:
    """Return two texts side by side."""
    return Pair(read(new), read(stored))
