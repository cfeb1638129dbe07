"""Vectors that are remembered."""

from collections.abc import Sequence

import numpy as np

from cacheproxy.semantic.embedding import Embedded, Remembering


class Counting:
    """Gives each text a vector of its length, for a token."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.asked.append(list(texts))
        return Embedded(np.array([[len(text), 1] for text in texts], np.float32), len(texts))


async def test_a_text_is_paid_for_once() -> None:
    counting = Counting()
    embedder = Remembering(counting)
    first = await embedder.embed(["a", "bb", "a"])
    again = await embedder.embed(["bb", "ccc", "a"])
    assert counting.asked == [["a", "bb"], ["ccc"]]
    assert (first.tokens, again.tokens) == (2, 1)
    assert first.vectors[:, 0].tolist() == [1, 2, 1]
    assert again.vectors[:, 0].tolist() == [2, 3, 1]
    assert (await embedder.embed(["a"])).tokens == 0


async def test_what_was_not_asked_for_in_a_while_goes_first() -> None:
    counting = Counting()
    embedder = Remembering(counting, max_bytes=2 * 208)
    for text in ("a", "bb", "a", "ccc", "a", "bb"):
        await embedder.embed([text])
    assert counting.asked == [["a"], ["bb"], ["ccc"], ["bb"]]


async def test_more_at_once_than_fits_is_given_all_the_same() -> None:
    embedder = Remembering(Counting(), max_bytes=100)
    assert (await embedder.embed(["a", "bb", "ccc"])).vectors[:, 0].tolist() == [1, 2, 3]
