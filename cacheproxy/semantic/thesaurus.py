"""How two English words stand to each other: one meaning, opposites, things of a kind. Distilled from WordNet. Plain.

Words are known by their CRC-32: no text is kept. A word that is not known stands to none in any way.
"""

import math
from bisect import bisect_left
from collections.abc import Container, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from numpy.typing import NDArray

from cacheproxy.semantic.arrays import read_arrays

FORMAT = 1
NONE = -1
"""No sense."""
SHIPPED = Path(__file__).with_name("thesaurus.npz")
ENDINGS = {
    "s": ("",), "es": ("", "e"), "ies": ("y",), "ves": ("f", "fe"), "ed": ("", "e"), "ied": ("y",),
    "ing": ("", "e"), "er": ("", "e"), "ier": ("y",), "est": ("", "e"), "iest": ("y",),
}  # fmt: skip
"""What inflection puts at the end of a word → what stood there before."""
LEAST_ROOT = 3
MOSTLY = 0.8
"""How much of a name's use must be that of a name, so that it is one without a capital, too."""
STEPS = 2
"""How far up its kinds a thing is followed."""
LEAST_DEPTH = 5
"""Of a kind, from the most general one: above it, being of a kind says nothing."""
NOUNS = range(3, 29)
"""The numbers of WordNet's files of nouns."""
VERBS = range(29, 44)
PLACES_AND_PEOPLE = frozenset({15, 18})
QUALITIES = frozenset({0, 1, 2, 44})
"""Of adjectives and adverbs."""

Weights = Mapping[int, float]
"""Of senses, or of fields: how much of a word's use is meant so, 0 to 1."""


class Meaning(NamedTuple):
    """What a word may mean."""

    senses: Weights
    above: Weights
    """What its senses belong to: a broader one, or the head of a cluster of adjectives."""
    kinds: Weights
    """What it is one of, not too far above."""
    cluster: Weights
    """Its senses and, of adjectives and adverbs, their heads: all that an opposite may oppose."""
    against: Weights
    fields: Weights
    named: Weights
    """The fields in which it is one of its kind by a name, as a city is."""

    def share(self, fields: Container[int]) -> float:
        """Return how much of its use lies in *fields*."""
        return sum(share for field, share in self.fields.items() if field in fields)

    @property
    def is_name(self) -> bool:
        """Whether it is hardly ever anything else than the name of a place or of somebody."""
        named = sum(self.named.get(field, 0.0) for field in PLACES_AND_PEOPLE)
        return named > MOSTLY * sum(self.fields.values())


class Relation(NamedTuple):
    """How two words stand to each other, each figure 0 to 1: how much of their use is meant so."""

    same: float
    near: float
    """One is broader than the other, or both are near one adjective."""
    opposite: float
    siblings: float
    """Things of a kind, as two fruits or two cities."""


NOTHING = Relation(0.0, 0.0, 0.0, 0.0)


class Thesaurus:
    """Arrays of WordNet's, looked up by bisection; what was looked up is kept for a while."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        # As memory views, of which one element is read in a third of the time that numpy takes.
        views = {name: array.data for name, array in arrays.items() if array.ndim}
        self._keys, self._starts = views["keys"], views["starts"]
        self._senses, self._shares = views["senses"], views["shares"]
        self._parents, self._against = views["parents"], views["against"]
        self._fields, self._named = views["fields"], views["named"]
        self.meaning = lru_cache(maxsize=8_192)(self._meaning)
        self.relation = lru_cache(maxsize=32_768)(self._relation)

    @classmethod
    def load(cls, path: Path = SHIPPED) -> "Thesaurus":
        """Return the thesaurus in *path*, by default the one that ships.

        Raises:
            InvalidVerifier: it is none, or of another format.
        """
        return cls(read_arrays(path, expected_format=FORMAT))

    def opposite(self, one: str, other: str) -> float:
        """Return how much of two folded words' use is opposite; quick for words that oppose none, as most do."""
        left, right = self.meaning(one), self.meaning(other)
        if left is None or right is None or not (left.against or right.against):
            return 0.0
        return self.relation(*sorted((one, other))).opposite

    def _relation(self, one: str, other: str) -> Relation:
        """Return how two folded words stand to each other; the same whichever comes first."""
        left, right = self.meaning(one), self.meaning(other)
        if left is None or right is None:
            return NOTHING
        return Relation(
            same=_common(left.senses, right.senses),
            near=max(
                _common(left.senses, right.above),
                _common(left.above, right.senses),
                _common(left.cluster, right.cluster),
            ),
            opposite=max(_common(left.against, right.cluster), _common(left.cluster, right.against)),
            siblings=max(_common(left.kinds, right.kinds), _common(left.named, right.named)),
        )

    def _meaning(self, word: str) -> Meaning | None:
        """Return what a folded *word* or what it is a form of may mean, or None where neither is known."""
        found: dict[int, float] = {}
        for root in (word, *_roots(word)):
            for sense, share in self._looked_up(root):
                if root == word or not self._named[sense]:  # names have no other forms
                    found[sense] = max(found.get(sense, 0.0), share)
        if not found:
            return None
        shares = sorted(found.items())
        heads = [(head, share) for sense, share in shares if (head := self._head(sense)) != NONE]
        cluster = [*shares, *heads]
        return Meaning(
            senses=found,
            above=_most((self._parents[sense], share) for sense, share in shares),
            kinds=_most((kind, share) for sense, share in shares for kind in self._kinds(sense)),
            cluster=_most(cluster),
            against=_most((self._against[sense], share) for sense, share in cluster),
            fields=_sum((self._fields[sense], share) for sense, share in shares),
            named=_sum((self._fields[sense], share) for sense, share in shares if self._named[sense]),
        )

    def _looked_up(self, word: str) -> Iterator[tuple[int, float]]:
        key = crc32(word.encode())
        row = bisect_left(self._keys, key)
        if row < len(self._keys) and self._keys[row] == key:
            for place in range(self._starts[row], self._starts[row + 1]):
                yield self._senses[place], self._shares[place] / 255

    def _head(self, sense: int) -> int:
        """Return the adjective that a sense is near to or an adverb of, or `NONE`."""
        return self._parents[sense] if self._fields[sense] in QUALITIES else NONE

    def _kinds(self, sense: int) -> list[int]:
        """Return what a noun's *sense* is one of, in at most `STEPS`, without what nearly everything is."""
        if self._fields[sense] not in NOUNS:
            return []
        above = []
        while (sense := self._parents[sense]) != NONE:
            above.append(sense)
        return above[: max(min(STEPS, len(above) - LEAST_DEPTH), 0)]


@lru_cache(maxsize=1)
def thesaurus() -> Thesaurus:
    """Return the thesaurus that ships, loaded once and shared."""
    return Thesaurus.load()


def _roots(word: str) -> Iterator[str]:
    """Yield what *word* may be a form of."""
    for ending, before in ENDINGS.items():
        root = word.removesuffix(ending)
        if root != word and len(root) >= LEAST_ROOT:
            yield from (root + each for each in before)
            if root[-1] == root[-2] and ending in {"ed", "ing", "er", "est"}:
                yield root[:-1]


def _common(left: Weights, right: Weights) -> float:
    """Return how much of both is meant in the way that they share most."""
    return max((math.sqrt(left[each] * right[each]) for each in left.keys() & right.keys()), default=0.0)


def _most(weights: Iterator[tuple[int, float]] | list[tuple[int, float]]) -> dict[int, float]:
    most: dict[int, float] = {}
    for sense, share in weights:
        if sense != NONE:
            most[sense] = max(most.get(sense, 0.0), share)
    return most


def _sum(weights: Iterator[tuple[int, float]]) -> dict[int, float]:
    total: dict[int, float] = {}
    for field, share in weights:
        total[field] = total.get(field, 0.0) + share
    return total
