"""Under which key a question was kept last, so that one can tell why it is kept elsewhere now. Plain."""

from array import array
from collections.abc import Hashable
from typing import Literal

Change = Literal["version", "invalidated"]
_BITS = 12
_PART = (1 << _BITS) - 1
_NOTE = (1 << 2 * _BITS) - 1
_WORD = (1 << 64) - 1


class Lineages:
    """A table in which the question asked last has its place, whichever had it before: eight bytes each.

    A change is told once, forgotten once its place is another's, and overlooked once in 2¹².
    """

    def __init__(self, places: int = 65_536) -> None:
        """Make *places*, a power of two."""
        self._table = array("Q", bytes(8 * places))
        self._mask = places - 1

    def note(self, question: Hashable, *, reading: Hashable, key: bytes) -> Change | None:
        """Note that *question* is kept under *key*, and return what moved it there since it was asked before.

        *reading* is all that decides how a question is read, but for invalidations.
        """
        word = hash(question) & _WORD
        place = word >> 32 & self._mask
        note = (hash(reading) & _PART) << _BITS | hash(key) & _PART
        before = self._table[place]
        self._table[place] = word & ~_NOTE | note
        changed = before ^ self._table[place]
        if changed == 0 or changed > _NOTE:
            return None
        return "version" if changed >> _BITS else "invalidated"
