"""Why an answer is not there: what left lately, in eight bytes each. Plain."""

from array import array
from typing import Literal

Absence = Literal["never_seen", "evicted", "expired", "discarded"]
_REASONS: tuple[Absence, ...] = ("never_seen", "evicted", "expired", "discarded")
_REASON_BITS = 3
_WORD = (1 << 64) - 1


class Ghosts:
    """A table in which the key that left last has its place, whoever had it before.

    An absence is therefore told as ``never_seen`` once it is long ago, and mistaken for another key's once in 2⁴⁶.
    """

    def __init__(self, places: int = 65_536) -> None:
        """Make *places*, a power of two."""
        self._table = array("Q", bytes(8 * places))
        self._mask = places - 1

    def remember(self, key: bytes, reason: Absence) -> None:
        """Note why *key* left."""
        word = hash(key) & _WORD
        self._table[word >> 32 & self._mask] = word & ~_REASON_BITS | _REASONS.index(reason)

    def reason(self, key: bytes) -> Absence:
        """Return why *key* left; ``never_seen`` if it was never here, or that is forgotten."""
        word = hash(key) & _WORD
        noted = self._table[word >> 32 & self._mask]
        return _REASONS[noted & _REASON_BITS] if noted ^ word <= _REASON_BITS else "never_seen"
