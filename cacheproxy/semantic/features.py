"""A pair in figures: what the score is learned from. Each is the same whichever of the questions is the stored one."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

import numpy as np

from cacheproxy.semantic.alignment import Pair
from cacheproxy.semantic.edits import PAST
from cacheproxy.semantic.knowledge import Floats, Knowledge
from cacheproxy.semantic.lexicon import PRONOUNS, QUANTIFIERS
from cacheproxy.semantic.question import Question
from cacheproxy.semantic.words import Word

NAMES = (
    "cosine", "refused",
    "words_min", "words_max", "content_min", "content_max",
    "same_stems", "same_content", "shared_rarity", "same_bigrams", "same_letters", "in_order", "start", "end",
    "left_min", "left_max", "left_rarity_min", "left_rarity_max", "rarest_left_min", "rarest_left_max",
    "nearest_min", "nearest_max", "unmet_min", "unmet_max", "unmet_sum_min", "unmet_sum_max", "nearest_mean",
    "worst_of_left", "left_of_shorter",
    "same_asking", "other_asking", "same_first", "same_persons", "tenses_apart", "quantifiers_apart",
    "function_left_min", "function_left_max",
    "turned", "names_left", "same_last", "negations_apart", "numbers_shared",
    "edits", "apart", "longest_edit_min", "longest_edit_max", "exchanged", "put_in",
)  # fmt: skip
"""Of the figures that texts give, in their order; those of the sketches follow, then the territory's."""


def figures(
    pair: Pair, cosine: float, sketches: tuple[Floats, Floats], knowledge: Knowledge, *, refused: bool = False
) -> Floats:
    """Return the figures of *pair*: `NAMES`, then what the *sketches* agree in and differ by.

    Only in training is a pair scored that a guard *refused*: it teaches what the others are like.
    """
    new_sketch, stored_sketch = sketches
    texts = [
        cosine,
        refused,
        *_sizes(pair),
        *_overlap(pair, knowledge),
        *_leftovers(pair, knowledge),
        *_asking(pair),
        *_edits(pair),
    ]
    return np.concatenate(
        [
            np.array(texts, np.float32),
            new_sketch * stored_sketch,
            np.abs(new_sketch - stored_sketch),
        ]
    )


def _sizes(pair: Pair) -> list[float]:
    new, stored = pair.new.words, pair.stored.words
    content = sum(word.content for word in new), sum(word.content for word in stored)
    return [*_sorted(len(new), len(stored)), *_sorted(*content)]


def _overlap(pair: Pair, knowledge: Knowledge) -> list[float]:
    """Return what the two have in common: stems, rare ones above all, in twos, in letters, in order, at both ends."""
    stems, others = [word.stem for word in pair.new.words], [word.stem for word in pair.stored.words]
    content = {word.stem for word in pair.new.words if word.content}
    other_content = {word.stem for word in pair.stored.words if word.content}
    every = sum(knowledge.rarity(stem) for stem in content | other_content)
    shared = sum(knowledge.rarity(stem) for stem in content & other_content)
    return [
        _shared(set(stems), set(others)),
        _shared(content, other_content),
        shared / every if every else 1.0,
        _shared(set(pairwise(stems)), set(pairwise(others))),
        _shared(_trigrams(pair.new.text), _trigrams(pair.stored.text)),
        _in_order(stems, others),
        _alike_from_start(stems, others),
        _alike_from_start(stems[::-1], others[::-1]),
    ]


def _leftovers(pair: Pair, knowledge: Knowledge) -> list[float]:
    """Return how many content words are left over, how rare they are, and how near in meaning the other text comes."""
    left, right = pair.left_new, pair.left_stored
    rarities = [[knowledge.rarity(word.stem) for word in words] for words in (left, right)]
    nearest = [_nearest(left, pair.stored, knowledge), _nearest(right, pair.new, knowledge)]
    unmet = [
        [(1 - near) * rarity for near, rarity in zip(*each, strict=True)]
        for each in zip(nearest, rarities, strict=True)
    ]
    both = nearest[0] + nearest[1]
    _, left_of_shorter = min((len(pair.new.words), len(left)), (len(pair.stored.words), len(right)))
    return [
        *_sorted(len(left), len(right)),
        *_sorted(sum(rarities[0]), sum(rarities[1])),
        *_sorted(max(rarities[0], default=0), max(rarities[1], default=0)),
        *_sorted(min(nearest[0], default=1), min(nearest[1], default=1)),
        *_sorted(max(unmet[0], default=0), max(unmet[1], default=0)),
        *_sorted(sum(unmet[0]), sum(unmet[1])),
        sum(both) / len(both) if both else 1.0,
        _worst(left, right, knowledge),
        left_of_shorter,
    ]


def _asking(pair: Pair) -> list[float]:
    """Return how they ask: for what, about whom, in which small words, in which order."""
    new, stored = pair.new, pair.stored
    small, other_small = _small_words(new), _small_words(stored)
    return [
        new.asks == stored.asks,
        new.asks != stored.asks and bool(new.asks) and bool(stored.asks),
        [word.stem for word in new.words[:1]] == [word.stem for word in stored.words[:1]],
        _persons(new) == _persons(stored),
        abs(_past(new) - _past(stored)),
        len(_quantifiers(new) ^ _quantifiers(stored)),
        *_sorted(len(small - other_small), len(other_small - small)),
        sum(pair.turns(first, second) for first, second in pair.inversions()),
        sum(word.name for word in (*pair.left_new, *pair.left_stored)),
        _last(new.words) == _last(stored.words),
        abs(new.negations - stored.negations),
        len(set(new.numbers) & set(stored.numbers)),
    ]


def _edits(pair: Pair) -> list[float]:
    """Return in how many places they differ, by how much, and how often by content exchanged or put in."""
    sides = [
        sorted((sum(word.content for word in edit.new), sum(word.content for word in edit.stored)))
        for edit in pair.edits
    ]
    return [
        len(sides),
        pair.apart,
        max((less for less, _ in sides), default=0),
        max((more for _, more in sides), default=0),
        sum(less > 0 for less, _ in sides),
        sum(less == 0 < more for less, more in sides),
    ]


def _nearest(left: Sequence[Word], other: Question, knowledge: Knowledge) -> list[float]:
    """Return for each word of *left* how near in meaning a content word of *other* comes at best."""
    against = [word.text for word in other.words if word.content]
    if not left or not against:
        return [0.0] * len(left)
    nearest: list[float] = knowledge.likeness([word.text for word in left], against).max(axis=1).tolist()
    return nearest


def _worst(left: Sequence[Word], right: Sequence[Word], knowledge: Knowledge) -> float:
    """Return how near the least met of the words left over comes to one left over on the other side."""
    if not left or not right:
        return float(not left and not right)
    likeness = knowledge.likeness([word.text for word in left], [word.text for word in right])
    return float(min(likeness.max(axis=1).min(), likeness.max(axis=0).min()))


def _sorted(left: float, right: float) -> tuple[float, float]:
    return (left, right) if left <= right else (right, left)


def _shared(left: AbstractSet[object], right: AbstractSet[object]) -> float:
    union = len(left | right)
    return len(left & right) / union if union else 1.0


def _trigrams(text: str) -> set[str]:
    return {text[at : at + 3] for at in range(len(text) - 2)}


def _in_order(left: Sequence[str], right: Sequence[str]) -> float:
    """Return the longest common subsequence as a share of the longer one."""
    row = [0] * (len(right) + 1)
    for stem in left:
        diagonal = 0
        for at, other in enumerate(right, 1):
            diagonal, row[at] = row[at], diagonal + 1 if stem == other else max(row[at], row[at - 1])
    return row[-1] / max(len(left), len(right), 1)


def _alike_from_start(left: Sequence[str], right: Sequence[str]) -> float:
    count = 0
    for stem, other in zip(left, right, strict=False):
        if stem != other:
            break
        count += 1
    return count / max(len(left), len(right), 1)


def _small_words(question: Question) -> set[str]:
    return {word.text for word in question.words if not word.content}


def _persons(question: Question) -> set[str]:
    return {PRONOUNS[word.text] for word in question.words if word.text in PRONOUNS}


def _past(question: Question) -> bool:
    return any(word.text in PAST for word in question.words)


def _quantifiers(question: Question) -> set[str]:
    return {word.text for word in question.words if word.text in QUANTIFIERS}


def _last(words: Iterable[Word]) -> str:
    return next((word.stem for word in reversed(tuple(words)) if word.content), "")
