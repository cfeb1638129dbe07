"""Do two answers say the same? What a shadow check asks. Plain, but for the encoder.

First what is cheap and certain: texts whose numbers differ are not the same, nor short ones of which only one says
no; texts that are equal but for case, spaces and punctuation are. What is left is decided by the cosine of their
vectors. Other ways to compare are `Comparison`s: a judge model, exact equality for a classifier.
"""

import re
import unicodedata
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from cacheproxy.semantic.embedding import Embedder

Comparison: TypeAlias = Callable[[str, str], Awaitable[bool]]

SAME_COSINE = 0.8
MAX_CHARACTERS = 4096
"""Of an answer, compared: what an encoder reads, and more."""

SHORT_WORDS = 30
"""Up to which a text says one thing, so that a negation turns all of it."""

_NUMBER = re.compile(r"(?:(?<![\w.])[-\u2212])?\d+(?:[.,]\d+)*")
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|cannot|without|neither|nor)\b|n['\u2019]t\b|[\u4e0d\u6ca1\u65e0\u975e\u672a\u5426]"
)
_SEPARATORS = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """Return *text* in one case, without punctuation, its words apart by one space and its numbers plain."""
    plain = _NUMBER.sub(lambda found: _plain(found.group()), unicodedata.normalize("NFKC", text).casefold())
    return _SEPARATORS.sub(" ", plain).strip()


def numbers(text: str) -> frozenset[str]:
    """Return the numbers in *text*, 1,000 and 1000.0 as 1000."""
    return frozenset(map(_plain, _NUMBER.findall(unicodedata.normalize("NFKC", text))))


def says_no(text: str) -> bool:
    """Return whether there is a negation in *text*, English or Chinese."""
    return _NEGATION.search(text.casefold()) is not None


class SameAnswer:
    """The comparison that is used where nothing else is."""

    def __init__(self, embedder: Embedder, *, least_cosine: float = SAME_COSINE) -> None:
        self._embedder = embedder
        self._least_cosine = least_cosine

    async def __call__(self, a: str, b: str) -> bool:
        """Return whether *a* and *b* say the same.

        Raises:
            EncoderBusy, EncoderFailed: nobody knows.
        """
        a, b = a[:MAX_CHARACTERS], b[:MAX_CHARACTERS]
        if numbers(a) != numbers(b):
            return False
        if normalised(a) == normalised(b):
            return True
        if says_no(a) != says_no(b) and max(len(a.split()), len(b.split())) <= SHORT_WORDS:
            return False
        first, second = (await self._embedder.embed([a, b])).vectors
        return float(first @ second) >= self._least_cosine


def _plain(number: str) -> str:
    number = number.replace("\u2212", "-")
    number = re.sub(r",(?=\d{3}(?!\d))", "", number).replace(",", ".")
    sign, number = ("-", number[1:]) if number.startswith("-") else ("", number)
    number = number.rstrip("0").rstrip(".") if number.count(".") == 1 else number
    return sign + (number.lstrip("0") or "0")
