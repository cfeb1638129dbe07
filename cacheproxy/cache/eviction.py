"""Who goes when there is no room: three ways of deciding it. Plain.

``lru``: whoever was not used for longest. ``lfu``: whoever was used least since it came. ``w-tinylfu``: newcomers
prove themselves in a small window; from there they get into the main part only by having been asked for more often
than whoever would go for them. A sketch remembers how often those were asked for that are not here (G. Einziger,
R. Friedman, B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM Transactions on Storage 13(4), 2017).
"""

from collections import OrderedDict, deque
from typing import Literal, NamedTuple, Protocol

import msgspec

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.sketch import FrequencySketch

PolicyName = Literal["lru", "lfu", "w-tinylfu"]

WINDOW_SHARE = 0.01
PROTECTED_SHARE = 0.8
"""Of the main part, for those that were asked for again while they were in it."""
SIGHTINGS_PER_ENTRY = 10
"""Counts are halved after so many uses per entry: popularity is a thing of the present."""


TYPICAL_ENTRY_BYTES = 4096
"""Where only bytes are bounded, the sketch has room for so many as fit of these."""


class Bounds(NamedTuple):
    """How much may be kept, both by bytes and by entries."""

    size_bytes: int
    entries: int

    def exceeded_by(self, size_bytes: int) -> Literal["bytes", "entries"]:
        """Return which bound is too small, where one is."""
        return "bytes" if size_bytes > self.size_bytes else "entries"

    def share(self, share: float) -> "Bounds":
        """Return a share of these bounds: one entry is never too many, but may be too large."""
        return Bounds(int(share * self.size_bytes), max(1, int(share * self.entries)))


class Entry(msgspec.Struct, gc=False, eq=False):
    """An answer in memory, and what its policy notes of it."""

    key: bytes
    answer: StoredAnswer
    size_bytes: int
    uses: int = 0
    era: int = 0
    """How often all counts had been halved when ``uses`` was last brought up to date."""
    segment: "Segment | None" = None


class Segment(OrderedDict[bytes, Entry]):
    """Entries in order of use, the least recently used first, and what they weigh."""

    size_bytes = 0

    def take(self, entry: Entry) -> None:
        """Put *entry* last, the last to go."""
        self[entry.key] = entry
        self.size_bytes += entry.size_bytes
        entry.segment = self

    def release(self, entry: Entry) -> None:
        """Let *entry* go."""
        del self[entry.key]
        self.size_bytes -= entry.size_bytes

    def first(self) -> Entry:
        """Return the first to go."""
        return self[next(iter(self))]

    def exceeds(self, bounds: Bounds) -> bool:
        """Return whether this is more than fits into *bounds*."""
        return self.size_bytes > bounds.size_bytes or len(self) > bounds.entries


class Policy(Protocol):
    """The order in which entries go. ``use`` is on every hit's way."""

    def add(self, entry: Entry) -> None:
        """Take *entry* in."""

    def use(self, entry: Entry) -> None:
        """Note that *entry* was asked for."""

    def remove(self, entry: Entry) -> None:
        """Let *entry* go."""

    def victim(self) -> Entry:
        """Return who is to go now; asked until there is room, right after ``add``."""


class Lru:
    """Least recently used first."""

    def __init__(self) -> None:
        self._order = Segment()

    def add(self, entry: Entry) -> None:
        """Take *entry* in."""
        self._order.take(entry)

    def use(self, entry: Entry) -> None:
        """Make *entry* the last to go."""
        self._order.move_to_end(entry.key)

    def remove(self, entry: Entry) -> None:
        """Let *entry* go."""
        self._order.release(entry)

    def victim(self) -> Entry:
        """Return the least recently used."""
        return self._order.first()


class Lfu:
    """Least frequently used first, and of these the least recently used.

    Counts do not age: what was popular long ago stays until it expires.
    """

    def __init__(self) -> None:
        self._by_uses: dict[int, Segment] = {}

    def add(self, entry: Entry) -> None:
        """Take *entry* in, with the uses that it had if it was here."""
        segment = self._by_uses.get(entry.uses)
        if segment is None:
            segment = self._by_uses[entry.uses] = Segment()
        segment.take(entry)

    def use(self, entry: Entry) -> None:
        """Move *entry* up by one."""
        self.remove(entry)
        entry.uses += 1
        self.add(entry)

    def remove(self, entry: Entry) -> None:
        """Let *entry* go."""
        segment = self._by_uses[entry.uses]
        segment.release(entry)
        if not segment:
            del self._by_uses[entry.uses]

    def victim(self) -> Entry:
        """Return the least used."""
        return self._by_uses[min(self._by_uses)].first()


class WTinyLfu:
    """A window for newcomers, and a main part that admits by frequency.

    Who is here has its count in its entry, so that a hit costs no hashing; the sketch is asked only about
    newcomers, and told only of those that leave.
    """

    def __init__(self, bounds: Bounds, sketch: FrequencySketch) -> None:
        self._window_bounds = bounds.share(WINDOW_SHARE)
        self._protected_bounds = bounds.share((1 - WINDOW_SHARE) * PROTECTED_SHARE)
        self._sketch = sketch
        self._window = Segment()
        self._probation = Segment()
        self._protected = Segment()
        self._candidates: deque[Entry] = deque()
        self._era = 0
        self._sightings = 0

    def add(self, entry: Entry) -> None:
        """Take *entry* into the window; what the window has no room for becomes a candidate for the main part."""
        entry.uses = max(entry.uses, self._sketch.estimate(entry.key)) + 1
        entry.era = self._era
        self._window.take(entry)
        self._candidates.clear()
        while self._window.exceeds(self._window_bounds):
            spilled = self._window.first()
            _move(spilled, self._probation)
            self._candidates.append(spilled)
        self._sighted()

    def use(self, entry: Entry) -> None:
        """Count a use, and protect an entry on probation."""
        if entry.era != self._era:
            self._bring_up_to_date(entry)
        entry.uses += 1
        self._sightings += 1
        segment = entry.segment
        if segment is self._probation:
            self._protect(entry)
        elif segment is not None:
            segment.move_to_end(entry.key)

    def remove(self, entry: Entry) -> None:
        """Let *entry* go, and remember how often it was asked for."""
        if entry.segment is not None:
            entry.segment.release(entry)
        self._bring_up_to_date(entry)
        self._sketch.raise_to(entry.key, entry.uses)

    def victim(self) -> Entry:
        """Return the loser of candidate and first to go, by how often they were asked for."""
        candidate = self._candidates[0] if self._candidates else None
        victim = (self._probation or self._protected or self._window).first()
        if victim is candidate and self._protected:
            victim = self._protected.first()
        if candidate is None or (victim is not candidate and self._beats(candidate, victim)):
            return victim
        return self._candidates.popleft()

    def _beats(self, candidate: Entry, victim: Entry) -> bool:
        self._bring_up_to_date(candidate)
        self._bring_up_to_date(victim)
        return candidate.uses > victim.uses

    def _protect(self, entry: Entry) -> None:
        _move(entry, self._protected)
        while self._protected.exceeds(self._protected_bounds):
            _move(self._protected.first(), self._probation)

    def _sighted(self) -> None:
        """Count a sighting; after enough of them, let all counts age. Entries follow when they are looked at."""
        self._sightings += 1
        here = len(self._window) + len(self._probation) + len(self._protected)
        if self._sightings >= SIGHTINGS_PER_ENTRY * max(here, 100):
            self._sightings = 0
            self._era += 1
            self._sketch.halve()

    def _bring_up_to_date(self, entry: Entry) -> None:
        entry.uses >>= self._era - entry.era
        entry.era = self._era


def _move(entry: Entry, segment: Segment) -> None:
    if entry.segment is not None:
        entry.segment.release(entry)
    segment.take(entry)


def policy_named(name: PolicyName, bounds: Bounds) -> Policy:
    """Return a policy for a cache of *bounds*."""
    if name == "lru":
        return Lru()
    if name == "lfu":
        return Lfu()
    return WTinyLfu(bounds, FrequencySketch(min(bounds.entries, bounds.size_bytes // TYPICAL_ENTRY_BYTES)))
