"""How the words that two questions do not share stand to each other, by the thesaurus, in figures. Plain."""

from collections.abc import Sequence

from cacheproxy.semantic.alignment import Pair
from cacheproxy.semantic.knowledge import Knowledge
from cacheproxy.semantic.opposites import opposed
from cacheproxy.semantic.thesaurus import NOUNS, VERBS, Relation, thesaurus
from cacheproxy.semantic.words import Word

THINGS = frozenset({5, 6, 8, 13, 15, 18, 20, 27, 28})
"""WordNet's files of animals, artefacts, bodies, food, places, people, plants, substances and times."""
NAMES = (
    "unrelated_min", "unrelated_max", "unrelated_sum_min", "unrelated_sum_max",
    "synonyms", "opposed", "opposites", "siblings",
    "things_left_min", "things_left_max", "nouns_left_min", "nouns_left_max", "verbs_left_min", "verbs_left_max",
    "other_left_min", "other_left_max", "unknown_left_min", "unknown_left_max",
)  # fmt: skip


def related(pair: Pair, knowledge: Knowledge) -> list[float]:
    """Return the figures of `NAMES` for *pair*: what is left over without kin, and of which sorts it is."""
    left, right = pair.left_new, pair.left_stored
    relations = [[thesaurus().relation(*sorted((word.text, other.text))) for other in right] for word in left]
    turned = [list(column) for column in zip(*relations, strict=True)] if left else [[] for _ in right]
    lonely = [_unrelated(left, relations, knowledge), _unrelated(right, turned, knowledge)]
    every = [relation for row in relations for relation in row]
    met = [sum(max(map(_agreement, row), default=0.0) for row in rows) for rows in (relations, turned)]
    return [
        *sorted(max(each, default=0.0) for each in lonely),
        *sorted(sum(each) for each in lonely),
        min(met),
        float(any(opposed(word, other) for word in left for other in right)),
        max((one.opposite for one in every), default=0.0),
        max((one.siblings - one.same for one in every), default=0.0),
        *(figure for both in zip(_sorts(left), _sorts(right), strict=True) for figure in sorted(both)),
    ]


def _unrelated(
    words: Sequence[Word], relations: Sequence[Sequence[Relation]], knowledge: Knowledge
) -> list[float]:
    """Return for each of *words* how little a word on the other side means the same, by how rare it is."""
    return [
        (1 - max(map(_agreement, row), default=0.0)) * knowledge.rarity(word.stem)
        for word, row in zip(words, relations, strict=True)
    ]


def _agreement(relation: Relation) -> float:
    return max(relation.same, relation.near, relation.kin)


def _sorts(words: Sequence[Word]) -> list[float]:
    """Return how many *words* name things, other nouns, what is done, or anything else, and how many are unknown."""
    sorts = [0.0] * 5
    for word in words:
        meaning = thesaurus().meaning(word.text)
        if meaning is None:
            sorts[4] += 1
        else:
            for field, share in meaning.fields.items():
                sorts[_sort(field)] += share
    return sorts


def _sort(field: int) -> int:
    if field in THINGS:
        return 0
    if field in NOUNS:
        return 1
    return 2 if field in VERBS else 3
