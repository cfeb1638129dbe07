"""A text, read once: its words and the facts that guards compare. Small enough to keep beside its vector. Plain."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

import msgspec

from cacheproxy.semantic.code import formulas, identifiers, quotations, squeeze
from cacheproxy.semantic.lexicon import (
    HAN_NEGATORS,
    IMPLICIT_NEGATORS,
    LANGUAGE_NAMES,
    MEASURES,
    NEGATORS,
    OTHER_NEGATORS,
    WH_WORDS,
    words,
)
from cacheproxy.semantic.quantities import bounds, dates, frequencies, measures, numbers
from cacheproxy.semantic.words import Word, is_known_name, without_courtesies, words_of

MAX_CHARACTERS = 8_192
SCRIPTS = {
    "han": "\u3400-\u4dbf\u4e00-\u9fff",
    "kana": "\u3040-\u30ff",
    "hangul": "\uac00-\ud7af",
    "cyrillic": "\u0400-\u04ff",
    "greek": "\u0370-\u03ff",
    "arabic": "\u0600-\u06ff",
    "hebrew": "\u0590-\u05ff",
    "devanagari": "\u0900-\u097f",
    "thai": "\u0e00-\u0e7f",
    "latin": "a-z\u00c0-\u024f",
}
SCRIPT = re.compile("|".join(f"(?P<{name}>[{span}])" for name, span in SCRIPTS.items()), re.IGNORECASE)
FUNCTION_WORDS = {
    "en": words("the of to and is are in what how do does for a i my it that with on can you why"),
    "de": words("der die das und ist nicht wie ich ein eine mit auf für zu den dem von kann was wo warum"),
    "fr": words(
        "le la les et est une des du que je comment pour dans avec pas qui où pourquoi quel quelle au"
    ),
    "es": words("el los las es una de que cómo como para con por qué dónde del mi puedo cuál en se"),
    "it": words("il lo gli è una di che come per con non dove perché del della mi posso qual sono"),
    "pt": words("o os uma é de que como para com não onde por do da meu posso qual em são"),
}
LANGUAGES_OF = {
    word: frozenset(language for language, words in FUNCTION_WORDS.items() if word in words)
    for words in FUNCTION_WORDS.values()
    for word in words
}
LANGUAGE_ROLES = {"in", "to", "into", "from"}
"""After which the name of a language says what is written, and not what something belongs to."""
CAPITALISED = {"de"}
"""Languages whose every noun has a capital."""
PREFIXES = ("un", "dis", "non")
AUXILIARIES = "do|does|did|is|are|was|were|can|could|will|would|should|has|have"
IDLE_NEGATIONS = re.compile(
    rf"""^(?:{AUXILIARIES})\ not\ (?:there|it|this|that|the|a|an|my|i|you|we|they|he|she)\b # "Isn't there a way?"
    |\b(?:{AUXILIARIES})\ not\ (?:it|i|you|we|they|he|she|there)$     # "It is late, isn't it?"
    |\b(?:(?:do|did|can|could)\ not\ (?:\w+\ ){{0,2}}
        (?:know|understand|remember|recall|see|find|tell|figure\ out|work\ out)
        |not\ (?:quite\ |really\ |entirely\ )?(?:sure|certain|clear)|no\ (?:idea|clue))
        (?=\ (?:how|what|where|when|why|who|which|whether|if|about)\b) # "I don't know how to …"
    |\bnot\ (?:only|just)\b|\bno\ matter\b""",
    re.VERBOSE,
)
"""Words that say no and do not mean it."""
FREE_OF = re.compile(r"\w-free\b")
A_NOT_A = re.compile(r"(.)不\1|有没有")


class Question(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one text. Facts are words, so that equal facts are equal strings."""

    text: str
    """Folded, for what must be found again as it stands."""
    words: tuple[Word, ...]
    numbers: tuple[str, ...]
    measures: tuple[tuple[str, str], ...]
    bounds: tuple[tuple[str, str], ...]
    """Of its numbers, which are the least, the most or exactly what is meant."""
    dates: tuple[str, ...]
    frequencies: tuple[str, ...]
    quotations: tuple[str, ...]
    identifiers: tuple[str, ...]
    formulas: tuple[str, ...]
    scripts: tuple[str, ...]
    language: str
    """Of its function words: `en`, `de`, `fr`, `es`, `it`, `pt`; or nothing where they do not tell."""
    squeezed: str
    """The folded text without spaces and hyphens, in which identifiers are looked for."""
    languages_named: tuple[str, ...]
    negations: int
    """How often it says no outright."""
    hidden_negations: tuple[str, ...]
    """Its words in which a negation may hide, as "unable"."""
    asks: str
    """What it asks for: `who`, `when`, `where`, `why`, `how`, `how many`…, `what`; or nothing."""


def read(text: str) -> Question:
    """Return *text* as a question; courtesies around it count for nothing, nor does what lies past 8,192 characters."""
    plain = without_courtesies(unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).replace("’", "'"))
    folded = plain.lower()
    words = words_of(plain)
    texts = [word.text for word in words]
    language = _language(texts)
    if language in CAPITALISED:
        words = tuple(word._replace(name=word.name and is_known_name(word.text)) for word in words)
    return Question(
        text=folded,
        words=words,
        numbers=tuple(sorted(numbers(folded))),
        measures=tuple(measures(folded)),
        bounds=tuple(bounds(folded)),
        dates=tuple(dates(folded, texts, frozenset(word.text for word in words if word.name))),
        frequencies=tuple(frequencies(texts)),
        quotations=tuple(quotations(plain)),
        identifiers=tuple(identifiers(plain)),
        formulas=tuple(formulas(plain)),
        scripts=tuple(sorted({match.lastgroup or "" for match in SCRIPT.finditer(folded)})),
        language=language,
        squeezed=squeeze(folded),
        languages_named=tuple(
            sorted(
                name
                for before, name in pairwise(texts)
                if name in LANGUAGE_NAMES and before in LANGUAGE_ROLES
            )
        ),
        negations=_negations(folded, texts),
        hidden_negations=tuple(sorted(word for word in texts if hides_negation(word))),
        asks=_asks(texts),
    )


def hides_negation(word: str) -> bool:
    """Return whether a negation may hide in *word*, as in "unable" and "useless"."""
    return word in IMPLICIT_NEGATORS or (len(word) > 5 and word.startswith(PREFIXES)) or word.endswith("less")


def _language(words: Iterable[str]) -> str:
    counts = dict.fromkeys(FUNCTION_WORDS, 0)
    for word in words:
        for language in LANGUAGES_OF.get(word, ()):
            counts[language] += 1
    best, second = sorted(counts, key=counts.__getitem__, reverse=True)[:2]
    return best if counts[best] > counts[second] else ""


def _negations(folded: str, words: list[str]) -> int:
    said = IDLE_NEGATIONS.sub(" ", " ".join(words)).split()
    english = sum(
        word in NEGATORS and not (before in {"or", "why"} and word == "not")
        for before, word in pairwise(["", *said])
    )
    foreign = sum(word in OTHER_NEGATORS for word in words)
    bare = A_NOT_A.sub("", folded)
    return (
        english
        + foreign
        + len(FREE_OF.findall(folded))
        + sum(bare.count(negator) for negator in HAN_NEGATORS)
    )


def _asks(words: list[str]) -> str:
    for at, word in enumerate(words):
        if word in WH_WORDS:
            measure = MEASURES.get(words[at + 1], "") if word == "how" and at + 1 < len(words) else ""
            return f"how {measure}" if measure else WH_WORDS[word]
    return ""
