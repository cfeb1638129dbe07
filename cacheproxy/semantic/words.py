"""From a text to its words: folded, contractions written out, stemmed, each with the role it has. Plain."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import snowballstemmer

from cacheproxy.semantic.lexicon import (
    CONTRACTIONS,
    COURTESIES,
    DETERMINERS,
    ENDINGS,
    FLOATING,
    JOINED,
    LANGUAGE_NAMES,
    NEGATORS,
    NOUNS_IN_ING,
    PLACES,
    ROLES,
    SAME_WORD,
    SPELLED,
    STOP_WORDS,
    TIMED_ROLES,
    TITLES,
    VERBAL_S,
)
from cacheproxy.semantic.numerals import ROMAN_NUMERALS, SMALL_NUMBERS, UNITS
from cacheproxy.semantic.thesaurus import VERBS, thesaurus

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
LETTER = rf"[^\W\d_{HAN}]"
TOKEN = re.compile(
    rf"[{HAN}]|\d+(?:[.,:]\d+)*|(?:{LETTER}\.){{2,}}{LETTER}?|{LETTER}+(?:['&]{LETTER}+)*|[^\w\s]|_"
)
"""A Han character, a number, an acronym with stops, a word, or a mark."""
OPENING = ".?!"
"""Marks after which a capital means nothing."""
VOWELS = frozenset("aeiouy")
HALF = 0.5
ROLE_REACH = 4
"""How many words a preposition's role holds for."""

_stemmer = snowballstemmer.stemmer("english")


class Word(NamedTuple):
    """A word of a text."""

    text: str
    """Folded: lower case, straight apostrophes, no possessive."""
    stem: str
    content: bool
    """Whether it tells what the text is about, as a noun does and an article does not."""
    name: bool
    """Whether it names somebody or something: by a capital that its place does not ask for, or as a known place."""
    role: str
    """The preposition it stands under, or nothing."""

    @property
    def floats(self) -> bool:
        """Whether it moves about a sentence without changing whom it speaks of."""
        return (
            self.text in FLOATING
            or self.text in NEGATORS
            or (self.text.endswith("ly") and len(self.text) > 4)
        )


class _Piece(NamedTuple):
    surface: str
    folded: str
    opens: bool
    """Whether it opens a sentence."""


def words_of(text: str) -> tuple[Word, ...]:
    """Return the words of *text* in order; Han characters are a word each, punctuation is left out."""
    pieces = _joined(list(_pieces(text)))
    titled = _titled(pieces)
    words: list[Word] = []
    role, reach = "", 0
    for surface, folded, opens in pieces:
        if folded in ROLES:
            role, reach = ROLES[folded], ROLE_REACH
        elif role == "to" and words and words[-1].text == "to" and _is_done(folded):
            role = ""  # "to stop", which leads nowhere
        content = folded not in STOP_WORDS and folded not in ROLES
        if not content and folded not in ROLES and folded not in DETERMINERS and folded != "and":
            role, reach = "", 0
        name = is_known_name(folded) or _has_capital(surface, opens or titled)
        name = name and content and folded not in UNITS and folded not in TITLES
        # A gerund is done, before or after something else, but not come from or gone to.
        bare = not content or (_is_gerund(folded) and role not in TIMED_ROLES)
        words.append(Word(folded, stem(folded), content, name, "" if bare else role))
        if bare and content:
            role = ""  # "from scratching the sofa": nothing comes from the sofa
        reach -= content
        role = role if reach > 0 else ""
    return tuple(words)


def without_courtesies(text: str) -> str:
    """Return *text* without greetings, thanks and "could you tell me"; whole where nothing else is in it."""
    bare = COURTESIES.sub("", text)
    return bare if any(character.isalnum() for character in bare) else text


def is_known_name(word: str) -> bool:
    """Return whether *word* names a place, a language or somebody even without a capital."""
    meaning = thesaurus().meaning(word)
    return word in PLACES or word in LANGUAGE_NAMES or (meaning is not None and meaning.is_name)


def _is_done(word: str) -> bool:
    """Return whether *word* mostly says what is done, as "stop" does and "school" does not."""
    meaning = thesaurus().meaning(word)
    return meaning is not None and meaning.share(VERBS) > HALF


def _is_gerund(word: str) -> bool:
    """Return whether *word* says what is done, as "moving" does and "string" and "building" do not."""
    return word.endswith("ing") and word not in NOUNS_IN_ING and not VOWELS.isdisjoint(word[:-3])


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Return what a folded English *word* has in common with its kin; other words come back as they are."""
    if word in NEGATORS or word in SPELLED:
        return word
    if word in SMALL_NUMBERS and word != "one":
        return str(SMALL_NUMBERS[word])
    root = str(_stemmer.stemWord(SAME_WORD.get(word, word)))
    return _same_stem().get(root, root)


@lru_cache(maxsize=1)
def _same_stem() -> dict[str, str]:
    """Return the stems of `SAME_WORD`, so that other forms of its words are the same word, too."""
    return {str(_stemmer.stemWord(word)): str(_stemmer.stemWord(same)) for word, same in SAME_WORD.items()}


def _pieces(text: str) -> Iterator[_Piece]:
    opens = True
    for match in TOKEN.finditer(text):
        surface = match[0]
        if not surface[0].isalnum():
            opens = opens or surface in OPENING
            continue
        for part in _spelled(surface):
            yield _Piece(surface, part, opens)
        opens = False


def _spelled(surface: str) -> list[str]:
    if surface == "US":
        return ["usa"]
    if surface.isupper() and surface.lower() in ROMAN_NUMERALS:
        return [ROMAN_NUMERALS[surface.lower()]]
    return written_out(surface.lower())


def _joined(pieces: list[_Piece]) -> list[_Piece]:
    """Return *pieces* with the phrases of `JOINED` as one word each."""
    joined: list[_Piece] = []
    at = 0
    while at < len(pieces):
        for length in (4, 3, 2):
            single = JOINED.get(tuple([piece.folded for piece in pieces[at : at + length]]))
            if single is not None:
                joined.append(_Piece(pieces[at].surface, single, pieces[at].opens))
                at += length
                break
        else:
            joined.append(pieces[at])
            at += 1
    return joined


def written_out(word: str) -> list[str]:
    """Return a lower-case *word* without contraction or possessive, as the one or two words it stands for."""
    if word in CONTRACTIONS:
        return CONTRACTIONS[word].split()
    if "'" not in word:
        return [word]
    for ending, full in ENDINGS.items():
        if word.endswith(ending) and len(word) > len(ending):
            return [word.removesuffix(ending), *full.split()]
    if word.endswith("'s"):
        bare = word.removesuffix("'s")
        return [bare, "is"] if bare in VERBAL_S else [bare]
    return [word]


def _titled(pieces: list[_Piece]) -> bool:
    """Return whether capitals say nothing, because most words have one."""
    inside = [piece for piece in pieces if piece.surface[0].isalpha() and not piece.opens]
    asked = [piece for piece in inside if piece.folded not in STOP_WORDS]
    raised = sum(piece.surface[0].isupper() for piece in asked)
    shouted = sum(piece.surface.isupper() and len(piece.surface) > 1 for piece in pieces)
    return (len(asked) > 3 and raised > 0.9 * len(asked)) or shouted > max(3, 0.5 * len(pieces))


def _has_capital(surface: str, expected: bool) -> bool:
    if not expected:
        return surface.lower() != surface and surface != "I"
    return (surface[1:].lower() != surface[1:] and not surface.isupper()) or _is_acronym(surface)


def _is_acronym(surface: str) -> bool:
    return surface.isupper() and 2 <= len(surface) <= 5
