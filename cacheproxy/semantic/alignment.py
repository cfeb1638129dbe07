"""Which words of two questions answer each other, which are left over, and whether their order agrees. Plain."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

from cacheproxy.semantic.lexicon import COORDINATORS, DETERMINERS, DIRECTED_ROLES, WH_WORDS
from cacheproxy.semantic.opposites import opposed
from cacheproxy.semantic.question import Question
from cacheproxy.semantic.words import Word

MIN_SPELLING = 6
"""Letters from which one more, less, other or exchanged letter is a slip; shorter words differ on purpose."""
MAX_EDITS = 3
MAX_APART = 0.3
"""The share of their words in which near copies differ."""
CLOSE = 0.8
"""The share of content words that questions have in common from which on their order is compared."""
MUCH_SHARED = 0.6
"""The share from which on opposites decide wherever they stand, and so do goals that changed places ("a to b")."""
MIN_KINSHIP = 5
"""Letters that kin must share from their start, as "invest" and "investor"."""


class Edit(NamedTuple):
    """Words that stand where others stand; either may be none."""

    new: Sequence[Word]
    stored: Sequence[Word]


class Pair:
    """Two questions side by side."""

    def __init__(self, new: Question, stored: Question) -> None:
        self.new = new
        self.stored = stored
        # What is found must not depend on which is stored: the one that sorts first is always looked at first.
        self._turned = [word.text for word in new.words] > [word.text for word in stored.words]

    @cached_property
    def matches(self) -> list[tuple[int, int]]:
        """Return the places of content words that answer each other, in the order of the new question.

        A word answers one of its own stem, else a slip of the pen or a relative; the n-th its n-th.
        """
        if self._turned:
            return sorted((at, other) for other, at in _matches(self.stored.words, self.new.words))
        return _matches(self.new.words, self.stored.words)

    @cached_property
    def left_new(self) -> list[Word]:
        """Return the content words of the new question that nothing answers."""
        matched = {at for at, _ in self.matches}
        return [word for at, word in enumerate(self.new.words) if word.content and at not in matched]

    @cached_property
    def left_stored(self) -> list[Word]:
        """Return the content words of the stored question that nothing answers."""
        matched = {at for _, at in self.matches}
        return [word for at, word in enumerate(self.stored.words) if word.content and at not in matched]

    @cached_property
    def shared(self) -> float:
        """Return the share of the content words that answer each other, of the question that has more of them."""
        words = len(self.matches) + max(len(self.left_new), len(self.left_stored))
        return len(self.matches) / words if words else 1.0

    @property
    def close(self) -> bool:
        """Return whether the two have nearly the same content words, whatever their order."""
        return self.shared >= CLOSE

    @cached_property
    def edits(self) -> list[Edit]:
        """Return what makes one question the other, in order."""
        if self._turned:
            return [Edit(other, word) for word, other in _edits(self.stored.words, self.new.words)]
        return _edits(self.new.words, self.stored.words)

    @cached_property
    def apart(self) -> float:
        """Return the share of the words that the edits exchange, put in or leave out."""
        words = len(self.new.words) + len(self.stored.words)
        return sum(len(edit.new) + len(edit.stored) for edit in self.edits) / max(words, 1)

    @property
    def near_copies(self) -> bool:
        """Return whether the questions are the same but for a place or two."""
        return len(self.edits) <= MAX_EDITS and self.apart <= MAX_APART

    def aligned(self, at: int, other: int) -> bool:
        """Return whether a word of the new question and one of the stored stand beside words that answer each other."""
        before = [match for match in self.matches if match[0] < at]
        after = [match for match in self.matches if match[0] > at]
        last = max((place for _, place in self.matches if place < other), default=None)
        following = min((place for _, place in self.matches if place > other), default=None)
        return not self.matches or any(
            beside and beside[0][1] == place
            for beside, place in ((before[-1:], last), (after[:1], following))
        )

    def inversions(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield every two matches that stand in another order in the stored question."""
        for first, second in combinations(self.matches, 2):
            if first[1] > second[1]:
                yield first, second

    def turns(self, first: tuple[int, int], second: tuple[int, int]) -> bool:
        """Return whether two inverted matches have exchanged places, as in "A beats B" and "B beats A".

        They have where each took the other's role, and, of words without one, where something stands between them
        in both questions, or nothing in either ("milk chocolate"). They have not where one floats ("fast",
        "online"), where each keeps a role of its own ("to Paris from London"), and in a list ("cats and dogs").
        What is left is a phrase that moved ("the price of gold", "the gold price"). In questions that say much else
        in other words an order tells nothing, but for that of names.
        """
        new, stored = self.new.words, self.stored.words
        left, right = new[first[0]], new[second[0]]
        if left.floats or right.floats or left.text[0].isdigit() != right.text[0].isdigit():
            return False
        roles = _goal(left), _goal(right)
        others = _goal(stored[first[1]]), _goal(stored[second[1]])
        swapped = (
            roles == others[::-1] and "to" in roles and roles[0] != roles[1] and self.shared >= MUCH_SHARED
        )
        if swapped or self._exchange_governors(first, second):
            return True
        if not (self.close or (left.name and right.name)):
            return False
        if roles[0] != roles[1]:
            directed = not DIRECTED_ROLES.isdisjoint(roles)
            return roles == others[::-1] and (
                directed or (self.close and not self._in_clauses(first, second))
            )
        if roles != others:
            return False
        if _listed(new, first[0], second[0]) and _listed(stored, second[1], first[1]):
            return False
        between, others_between = new[first[0] + 1 : second[0]], stored[second[1] + 1 : first[1]]
        if [word.text for word in between] == [word.text for word in others_between]:
            return not (between and left.role)  # "in Rome in May": each has a preposition of its own
        return not _content(between).isdisjoint(_content(others_between))

    def _in_clauses(self, first: tuple[int, int], second: tuple[int, int]) -> bool:
        """Return whether two inverted matches stand in one clause here and in two there."""
        between = self.new.words[first[0] : second[0]], self.stored.words[second[1] : first[1]]
        return len({any(word.text in WH_WORDS for word in words) for words in between}) == 2

    def _exchange_governors(self, first: tuple[int, int], second: tuple[int, int]) -> bool:
        """Return whether each of two inverted matches stands after what the other stands after in the other question.

        As in "decline Thursday and propose Friday", "decline Friday and propose Thursday".
        """
        before = [_governor(self.new.words, at) for at, _ in (first, second)]
        others = [_governor(self.stored.words, at) for _, at in (second, first)]
        return self.close and None not in before and before == others and before[0] != before[1]


def _goal(word: Word) -> str:
    """Return the role of *word*; what is turned "as" something is turned to it."""
    return "to" if word.role == "as" else word.role


def _governor(words: Sequence[Word], at: int) -> str | None:
    """Return the stem of the content word before the one at *at*, or None where there is none."""
    return next((word.stem for word in reversed(words[:at]) if word.content), None)


def _matches(new: Sequence[Word], stored: Sequence[Word]) -> list[tuple[int, int]]:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, word in reversed(list(enumerate(stored))):
        if word.content:
            places[word.stem].append(at)
    matches, rest = [], []
    for at, word in enumerate(new):
        if word.content and places[word.stem]:
            matches.append((at, places[word.stem].pop()))
        elif word.content:
            rest.append(at)
    free = sorted(at for left in places.values() for at in left)
    for at in rest:
        near = next((other for other in free if alike(new[at], stored[other])), None)
        if near is not None:
            free.remove(near)
            matches.append((at, near))
    return sorted(matches)


def _edits(new: Sequence[Word], stored: Sequence[Word]) -> list[Edit]:
    stems, others = [word.stem for word in new], [word.stem for word in stored]
    codes = SequenceMatcher(None, stems, others, autojunk=False).get_opcodes()
    return [Edit(new[h:i], stored[j:k]) for kind, h, i, j, k in codes if kind != "equal"]


def alike(word: Word, other: Word) -> bool:
    """Return whether two words are one word, misspelt, or a word and its derivation; never so for names."""
    left, right = word.text, other.text
    if (word.name and other.name) or opposed(word, other):
        return False
    if min(len(left), len(right)) >= MIN_SPELLING and left[0] == right[0] and one_slip(left, right):
        return True
    shared = _shared_start(word.stem, other.stem)
    return shared >= MIN_KINSHIP and shared >= 0.75 * max(len(word.stem), len(other.stem))


def one_slip(left: str, right: str) -> bool:
    """Return whether one letter more, less, other, or two exchanged make *left* into *right*."""
    start = _shared_start(left, right)
    left, right = left[start:], right[start:]
    if len(left) < len(right):
        left, right = right, left
    if len(left) == len(right):
        return left[1:] == right[1:] or (left[:2] == right[1::-1] and left[2:] == right[2:])
    return left[1:] == right


def _shared_start(left: str, right: str) -> int:
    for at, (letter, other) in enumerate(zip(left, right, strict=False)):
        if letter != other:
            return at
    return min(len(left), len(right))


def _content(words: Sequence[Word]) -> set[str]:
    return {word.stem for word in words if word.content}


def _listed(words: Sequence[Word], first: int, second: int) -> bool:
    """Return whether only a coordinator stands between two words, or the rest of their names."""
    between = [word for word in words[first + 1 : second] if word.text not in DETERMINERS]
    named = words[first].name and words[second].name
    rest = [word for word in between if word.text not in COORDINATORS]
    return len(between) == len(rest) + 1 and all(named and word.name for word in rest)
