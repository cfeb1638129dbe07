"""Guards: what no likeness of two questions makes up for. Each answers whether it lets a pair pass. Plain.

A guard is strict: where it cannot tell, it refuses, which costs a call and never a wrong answer. The names in
`GUARDS` are the words for statistics and stay as they are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from cacheproxy.semantic.alignment import MUCH_SHARED, Pair
from cacheproxy.semantic.edits import (
    decides,
    exchanges_asking,
    exchanges_content,
    exchanges_duty,
    exchanges_tense,
    makes_so,
    turns_verb,
)
from cacheproxy.semantic.fields import THINGS, is_concrete, siblings
from cacheproxy.semantic.lexicon import (
    COORDINATORS,
    DIRECTED_ROLES,
    FIRSTS,
    OPPOSED_ROLES,
    PEOPLE,
    PRONOUNS,
    RELATIVES,
)
from cacheproxy.semantic.opposites import opposed
from cacheproxy.semantic.question import Question
from cacheproxy.semantic.thesaurus import NOUNS, thesaurus
from cacheproxy.semantic.words import HALF, Word, stem

FEW_SHARED = 0.5
"""The share of their content words below which texts say too much in other words for one of them to decide."""
MAX_WORDS = 60
"""Above it, only texts of the same content words pass: encoders read a text's beginning, and scores were learned
on questions."""


def same_language(pair: Pair) -> bool:
    """Return whether both are written in one script and language, and name the same languages."""
    new, stored = pair.new, pair.stored
    if ({*new.scripts} ^ {*stored.scripts}) - {"latin"}:
        return False
    for one, other in ((new, stored), (stored, new)):
        if not {*one.languages_named} <= {word.text for word in other.words}:
            return False
    return new.language == stored.language or not (new.language and stored.language)


def same_code(pair: Pair) -> bool:
    """Return whether formulas agree, and each identifier and quotation of one stands in the other."""
    new, stored = pair.new, pair.stored
    return (
        new.formulas == stored.formulas
        and all(identifier in stored.squeezed for identifier in new.identifiers)
        and all(identifier in new.squeezed for identifier in stored.identifiers)
        and all(quoted in stored.text for quoted in new.quotations)
        and all(quoted in new.text for quoted in stored.quotations)
    )


def same_numbers(pair: Pair) -> bool:
    """Return whether the same numbers occur as often, in figures or in words, ordinals apart from counts.

    Nor may a number be the least in one and the most in the other. Said otherwise, a text may repeat a number, and
    the first of all may be the earliest.
    """
    if not _same_bounds(pair):
        return False
    new, stored = pair.new.numbers, pair.stored.numbers
    if new == stored or pair.near_copies:
        return new == stored
    missing = {*new} ^ {*stored}
    return not missing or (missing == {"#1"} and _says_first(pair.stored if "#1" in new else pair.new))


def same_units(pair: Pair) -> bool:
    """Return whether no number changes its unit, and the same units stand alone.

    10 miles in km is so not 10 km in miles; a unit that only one of them says beside its number is let pass, and one
    that only one of them asks for, where they differ in more.
    """
    new, stored = set(pair.new.measures), set(pair.stored.measures)
    alone = [{unit for number, unit in side if not number} for side in (new - stored, stored - new)]
    if all(alone) or (any(alone) and pair.near_copies):
        return False
    units = {number for number, _ in new - stored} & {number for number, _ in stored - new}
    return not units


def same_dates(pair: Pair) -> bool:
    """Return whether days, months and relative dates agree, and how often, where both say it."""
    often, other = pair.new.frequencies, pair.stored.frequencies
    return pair.new.dates == pair.stored.dates and (often == other or not (often and other))


def same_negation(pair: Pair) -> bool:
    """Return whether both say no equally often.

    Words in which a negation may hide ("unable", "fails") may make up for one that the other says outright. In texts
    that share few words a single no may be said in any of them: there it is left to the score.
    """
    new, stored = pair.new, pair.stored
    if new.negations == stored.negations or (
        pair.shared < FEW_SHARED and not pair.near_copies and abs(new.negations - stored.negations) == 1
    ):
        return True
    hidden_new = len(_without(new.hidden_negations, stored.hidden_negations))
    hidden_stored = len(_without(stored.hidden_negations, new.hidden_negations))
    return (
        new.negations + hidden_new >= stored.negations and stored.negations + hidden_stored >= new.negations
    )


def no_opposites(pair: Pair) -> bool:
    """Return whether no word of one has its opposite in the other, but where a no makes up for it.

    People, things and small words oppose each other only where one stands for the other: "an employer" may be asked
    about by an employee.
    """
    if pair.new.negations != pair.stored.negations:
        return True
    new, stored = {word.stem for word in pair.new.words}, {word.stem for word in pair.stored.words}
    only_stored = [(at, word) for at, word in enumerate(pair.stored.words) if word.stem not in new]
    return not any(
        opposed(word, other)
        and (
            pair.shared >= MUCH_SHARED
            or pair.aligned(at, place)
            or (_is_said_of(word) and _is_said_of(other))
        )
        for at, word in enumerate(pair.new.words)
        if word.stem not in stored
        for place, other in only_stored
    )


def same_kinds(pair: Pair) -> bool:
    """Return whether no thing of one stands for another of its kind, as tea for coffee or a son for a daughter."""
    new, stored = _things(pair.new), _things(pair.stored)
    listed = {thing.split(".")[0] for thing in new - stored} & {thing.split(".")[0] for thing in stored - new}
    if listed:
        return False
    left, others = (
        [word for word in side if is_concrete(word)] for side in (pair.left_new, pair.left_stored)
    )
    return not any(siblings(word, other) for word in left for other in others)


def same_direction(pair: Pair) -> bool:
    """Return whether no word changes between from and to, before and after, over and under, with and without…"""
    new, stored = pair.new.words, pair.stored.words
    roles = [{new[at].role, stored[other].role} for at, other in pair.matches]
    return not any(len(both) == 2 and both <= opposed for both in roles for opposed in OPPOSED_ROLES)


def same_order(pair: Pair) -> bool:
    """Return whether the words that both share, and the persons they speak of, come in an order that means the same."""
    if any(pair.turns(first, second) for first, second in pair.inversions()):
        return False
    new, stored = _persons(pair.new.words), _persons(pair.stored.words)
    return new == stored or not pair.close or sorted(new) != sorted(stored)


def same_persons(pair: Pair) -> bool:
    """Return whether nobody who is something to somebody ("my child") is spoken of in only one of them."""
    return pair.shared < MUCH_SHARED or _relatives(pair.new.words) == _relatives(pair.stored.words)


def same_names(pair: Pair) -> bool:
    """Return whether no name stands against another, nor alone where it decides.

    A name that only one of them has is left to the score where both share another name or a number ("the book by
    Gandhi", "the book by Mahatma Gandhi"), unless it is one of a list, or where something comes from or goes to.
    """
    new, stored = _unmet_names(pair.left_new, pair.stored), _unmet_names(pair.left_stored, pair.new)
    if not new and not stored:
        return True
    anchored = any(pair.new.words[at].name for at, _ in pair.matches) or not {*pair.new.numbers}.isdisjoint(
        pair.stored.numbers
    )
    directed = any(word.role in DIRECTED_ROLES for word in (*new, *stored))
    listed = _in_list(new, pair.new.words) or _in_list(stored, pair.stored.words)
    return anchored and not directed and not listed and not (new and stored)


def same_in_place(pair: Pair) -> bool:
    """Return whether what near copies differ in leaves the question what it is."""
    if not pair.near_copies:
        return True
    if turns_verb(pair) or decides(pair) or exchanges_duty(pair):
        return False
    if makes_so(pair):
        return True
    return not any(
        differs(edit)
        for edit in pair.edits
        for differs in (exchanges_content, exchanges_tense, exchanges_asking)
    )


def short_enough(pair: Pair) -> bool:
    """Return whether both are of the length that scores were learned on, or of the same content words."""
    longest = max(len(pair.new.words), len(pair.stored.words))
    return longest <= MAX_WORDS or not (pair.left_new or pair.left_stored)


RELATIVE_STEMS = {stem(person) for person in RELATIVES}
PEOPLE_ENDINGS = {"n", "ns", "an", "ans", "ian", "ians", "s", "ese", "ish"}
Guard = Callable[[Pair], bool]
GUARDS: Mapping[str, Guard] = {
    "language": same_language,
    "code": same_code,
    "number": same_numbers,
    "unit": same_units,
    "date": same_dates,
    "negation": same_negation,
    "opposite": no_opposites,
    "kind": same_kinds,
    "person": same_persons,
    "direction": same_direction,
    "order": same_order,
    "name": same_names,
    "edit": same_in_place,
    "length": short_enough,
}
"""The word for each guard → the guard, the cheap ones first."""


def refused_by(pair: Pair) -> str | None:
    """Return the word for the first guard that refuses *pair*, or None."""
    return next((word for word, passes in GUARDS.items() if not passes(pair)), None)


def _is_said_of(word: Word) -> bool:
    """Return whether *word* says what something is like or does, and not of how many."""
    meaning = thesaurus().meaning(word.text)
    return word.content and not word.floats and meaning is not None and meaning.share(NOUNS) < HALF


def _same_bounds(pair: Pair) -> bool:
    new, stored = set(pair.new.bounds), set(pair.stored.bounds)
    if pair.near_copies:
        return new == stored
    return {number for number, _ in new - stored}.isdisjoint(number for number, _ in stored - new)


def _says_first(question: Question) -> bool:
    return any(word.text in FIRSTS for word in question.words)


def _things(question: Question) -> set[str]:
    return {thing for word in question.words for thing in THINGS.get(word.stem, ())}


def _without(words: Iterable[str], taken: Iterable[str]) -> list[str]:
    left = list(words)
    for word in taken:
        if word in left:
            left.remove(word)
    return left


def _persons(words: Iterable[Word]) -> list[str]:
    """Return who is spoken of, as often as they are, in order."""
    return [
        PRONOUNS.get(word.text, word.stem) for word in words if word.text in PRONOUNS or word.text in PEOPLE
    ]


def _relatives(words: Iterable[Word]) -> set[str]:
    return {word.stem for word in words if word.stem in RELATIVE_STEMS}


def _unmet_names(left: Iterable[Word], other: Question) -> list[Word]:
    """Return the names among the words *left* that *other* has in no form, its initials among them."""
    names = [
        word
        for word in left
        if word.name and not any(_same_people(word.text, one.text) for one in other.words)
    ]
    if not names:
        return names
    initials = "".join(word.text[0] for word in other.words if word.content)
    spelled = "".join(word.text for word in other.words)
    return [
        name
        for name in names
        if len(name.text) == 1 or (name.text not in initials and name.text not in spelled)
    ]


def _in_list(names: Iterable[Word], words: Sequence[Word]) -> bool:
    """Return whether "and", "or" or the like stands beside one of *names*."""
    beside = {word for word, after in pairwise(words) if after.text in COORDINATORS}
    beside |= {word for before, word in pairwise(words) if before.text in COORDINATORS}
    return not beside.isdisjoint(names)


def _same_people(name: str, other: str) -> bool:
    """Return whether one is the other with the ending of its people, as India and Indians."""
    shorter, longer = sorted((name, other), key=len)
    if not THINGS.get(stem(name), frozenset()).isdisjoint(THINGS.get(stem(other), ())):
        return True
    return len(shorter) > 3 and longer.startswith(shorter) and longer[len(shorter) :] in PEOPLE_ENDINGS
