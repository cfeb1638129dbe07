"""Which words of two questions answer each other, which are left over, and whether their order agrees. Plain."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations

from cacheproxy.semantic.lexicon import COORDINATORS, DETERMINERS, ROLES
from cacheproxy.semantic.question import Question
from cacheproxy.semantic.words import Word

MIN_SPELLING = 6
"""Letters from which one more, less, other or exchanged letter is a slip; shorter words differ on purpose."""
MIN_KINSHIP = 5
"""Letters that kin must share from their start, as "invest" and "investor"."""


class Pair:
    """Two questions side by side."""

    def __init__(self, new: Question, stored: Question) -> None:
        self.new = new
        self.stored = stored
        self.same = new.words == stored.words

    @cached_property
    def matches(self) -> list[tuple[int, int]]:
        """Return the places of content words that answer each other, in the order of the new question.

        A word answers one of its own stem, else a slip of the pen or a relative; the n-th its n-th.
        """
        places: defaultdict[str, list[int]] = defaultdict(list)
        for at, word in reversed(list(enumerate(self.stored.words))):
            if word.content:
                places[word.stem].append(at)
        matches, rest = [], []
        for at, word in enumerate(self.new.words):
            if word.content and places[word.stem]:
                matches.append((at, places[word.stem].pop()))
            elif word.content:
                rest.append(at)
        free = sorted(at for left in places.values() for at in left)
        for at in rest:
            near = next(
                (other for other in free if alike(self.new.words[at], self.stored.words[other])), None
            )
            if near is not None:
                free.remove(near)
                matches.append((at, near))
        return sorted(matches)

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

    def inversions(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield every two matches that stand in another order in the stored question."""
        for first, second in combinations(self.matches, 2):
            if first[1] > second[1]:
                yield first, second

    def turns(self, first: tuple[int, int], second: tuple[int, int]) -> bool:
        """Return whether two inverted matches have exchanged places, as in "A beats B" and "B beats A".

        They have where each took the other's role, where something stands between them in both questions, and
        where nothing does in either ("milk chocolate"). They have not where one floats ("fast", "online"),
        where each keeps a role of its own ("to Paris from London"), and in a list ("cats and dogs"). What is
        left is a phrase that moved ("the price of gold", "the gold price").
        """
        new, stored = self.new.words, self.stored.words
        left, right = new[first[0]], new[second[0]]
        if left.floats or right.floats or left.text[0].isdigit() != right.text[0].isdigit():
            return False
        roles = left.role, right.role
        others = stored[first[1]].role, stored[second[1]].role
        if roles[0] != roles[1] and (roles == others or roles == others[::-1]):
            return roles != others
        if _listed(new, first[0], second[0]) and _listed(stored, second[1], first[1]):
            return False
        if second[0] - first[0] == 1 == first[1] - second[1]:
            return True
        return not _between(new, first[0], second[0]).isdisjoint(_between(stored, second[1], first[1]))


def alike(word: Word, other: Word) -> bool:
    """Return whether two words are one word, misspelt, or a word and its derivation; never so for names."""
    left, right = word.text, other.text
    if word.name and other.name:
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


def _between(words: Sequence[Word], first: int, second: int) -> set[str]:
    """Return the stems between two places that are no mere article or preposition."""
    return {
        word.stem
        for word in words[first + 1 : second]
        if word.text not in DETERMINERS and word.text not in ROLES
    }


def _listed(words: Sequence[Word], first: int, second: int) -> bool:
    """Return whether only a coordinator stands between two words, or the rest of their names."""
    between = [word for word in words[first + 1 : second] if word.text not in DETERMINERS]
    named = words[first].name and words[second].name
    rest = [word for word in between if word.text not in COORDINATORS]
    return len(between) == len(rest) + 1 and all(named and word.name for word in rest)
