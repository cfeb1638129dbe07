"""What a near copy changes: where two texts are the same but for a place or two, that place is the question. Plain."""

from collections.abc import Sequence
from itertools import pairwise, zip_longest

from cacheproxy.semantic.alignment import Edit, Pair, alike
from cacheproxy.semantic.lexicon import PEOPLE, words
from cacheproxy.semantic.quantities import counts
from cacheproxy.semantic.question import hides_negation
from cacheproxy.semantic.thesaurus import QUALITIES, thesaurus
from cacheproxy.semantic.words import HALF, Word

PAST = words("was were did had")
PRESENT = words("is are am do does has have will shall")
SUFFERING = words("be been being am is are was were get gets got getting")
REACH = 2
"""How many words before a participle that which makes it passive may stand."""
ASKING = [words(line) for line in ("who whom whose", "when", "where", "why", "how", "what which")]
DECISIVE = words("only all both neither half still again always") | PEOPLE
"""Words that change a question where they are put in or left out."""
BINDING = [
    words("must should shall obliged required mandatory"),
    words("can could may might allowed able possible"),
]
JOINING = [words("and both"), words("or either")]
TIMING = [words("before"), words("after"), words("with during")]
MAKING = words("make makes made making")
POINTING = words("following below above")
PERSONS = [
    words("i me my mine myself we us our ours ourselves you your yours yourself"),
    words("he him his himself"),
    words("she her hers herself"),
    words("they them their theirs themselves"),
    words("someone somebody else others"),
]
GIVING = [
    words("give gives gave given giving grant send sends sent sending"),
    words("get gets got getting receive receives received receiving take takes took taken"),
]


def exchanges_content(edit: Edit) -> bool:
    """Return whether words that say what it is about stand for others, and not just in another spelling.

    Numbers are none: a guard of their own compares them. Nor is what only one of them asks: "Translate it" is "How do
    you say it?", and opposites have a guard of their own.
    """
    if _asks(edit.new) != _asks(edit.stored):
        return False
    new, stored = _content(edit.new), _content(edit.stored)
    return bool(new and stored) and not (_met(new, stored) and _met(stored, new))


def exchanges_tense(edit: Edit) -> bool:
    """Return whether past stands for present, or the reverse."""
    new, stored = {word.text for word in edit.new}, {word.text for word in edit.stored}
    return _exchanged(new, stored, PAST, PRESENT) or _exchanged(stored, new, PAST, PRESENT)


def exchanges_asking(edit: Edit) -> bool:
    """Return whether one asks for something else, speaks of somebody else, or goes the other way."""
    new, stored = _asking(edit.new), _asking(edit.stored)
    if new | stored == {"to", "from"}:
        return True
    return any(
        _exchanged(new, stored, one, other)
        for kinds in (ASKING, PERSONS, GIVING, TIMING, JOINING)
        for one in kinds
        for other in kinds
        if one is not other
    )


def exchanges_duty(pair: Pair) -> bool:
    """Return whether may stands for must, and not after "how" or "what", which ask for a way in either case."""
    if {pair.new.asks, pair.stored.asks} & {"how", "what"}:
        return False
    new, stored = ({word.text for word in question.words} for question in (pair.new, pair.stored))
    must, may = BINDING
    return _exchanged(new, stored, must, may) or _exchanged(stored, new, must, may)


def decides(pair: Pair) -> bool:
    """Return whether a word is put in, left out or exchanged on which much depends."""
    new, stored = (
        {word.stem for word in question.words if word.text in DECISIVE or hides_negation(word.text)}
        for question in (pair.new, pair.stored)
    )
    return new != stored


def makes_so(pair: Pair) -> bool:
    """Return whether no more is exchanged than "Make it shorter" for "Shorten it"."""
    new = _content([word for edit in pair.edits for word in edit.new])
    stored = _content([word for edit in pair.edits for word in edit.stored])
    made = any(word.text in MAKING for word in (*new, *stored))
    new, stored = ([each for each in side if each.text not in MAKING | POINTING] for side in (new, stored))
    return made and bool(new and stored) and _met(new, stored) and _met(stored, new)


def turns_verb(pair: Pair) -> bool:
    """Return whether a verb after the same word turns from doing to suffering, or from now to then."""
    new, stored = pair.new.words, pair.stored.words
    return any(
        _form(new, at) != _form(stored, other)
        for (before, place), (at, other) in pairwise(pair.matches)
        if before < at and place < other
    )


def _form(words: Sequence[Word], at: int) -> str:
    """Return how a verb is meant at *at*."""
    if not words[at].text.endswith("ed"):
        return "does"
    return "suffers" if {word.text for word in words[max(at - REACH, 0) : at]} & SUFFERING else "did"


def _asking(words: Sequence[Word]) -> set[str]:
    """Return the words, but "what" for the "how" of "how high", which asks for no way."""
    texts = [word.text for word in words]
    return {
        "what" if text == "how" and _is_quality(following) else text
        for text, following in zip_longest(texts, texts[1:], fillvalue="")
    }


def _is_quality(word: str) -> bool:
    meaning = thesaurus().meaning(word)
    return meaning is not None and meaning.share(QUALITIES) > HALF


def _exchanged(new: set[str], stored: set[str], one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(new & one and stored & other) and not (new & other or stored & one)


def _asks(words: Sequence[Word]) -> bool:
    return any(word.text in kind for word in words for kind in ASKING)


def _content(words: Sequence[Word]) -> list[Word]:
    return [word for word in words if word.content and not counts(word.text)]


def _met(words: Sequence[Word], others: Sequence[Word]) -> bool:
    return all(any(alike(word, other) for other in others) for word in words)
