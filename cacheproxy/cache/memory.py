"""The first tier: answers in this process, bounded by bytes and by entries."""

from collections import Counter
from typing import Literal

from cacheproxy.cache.answer import MAX_ANSWER_BYTES, StoredAnswer
from cacheproxy.cache.deadlines import Deadlines
from cacheproxy.cache.eviction import Bounds, Entry, PolicyName, policy_named
from cacheproxy.cache.ghosts import Absence, Ghosts

ENTRY_OVERHEAD_BYTES = 1152
"""What an entry costs beside its answer: key, structs, integers, slots in two dicts (measured, rounded up)."""
MAX_ENTRIES = 1_000_000
SWEPT_PER_PUT = 16
"""Expired answers that a new one drives out at most, so that a thousand that end together hold nobody up."""

Departure = Literal["bytes", "entries", "expired", "discarded"]
"""Why an answer left: one bound or the other was reached, its time had come, or somebody said so."""
_ABSENCES: dict[Departure, Absence] = {
    "bytes": "evicted",
    "entries": "evicted",
    "expired": "expired",
    "discarded": "discarded",
}


class MemoryCache:
    """Answers by key. Nothing here waits, so that a hit costs no turn of the event loop."""

    def __init__(
        self,
        capacity_bytes: int,
        *,
        max_entries: int = MAX_ENTRIES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        policy: PolicyName = "w-tinylfu",
    ) -> None:
        self.bounds = Bounds(capacity_bytes, max_entries)
        self.used_bytes = 0
        self.hits = 0
        self.misses: Counter[str] = Counter()
        self.departures: Counter[str] = Counter()
        self._entries: dict[bytes, Entry] = {}
        self._max_answer_bytes = max_answer_bytes
        self._policy = policy_named(policy, self.bounds)
        self._deadlines = Deadlines()
        self._ghosts = Ghosts()
        self._asked_at_ms = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now_ms: int) -> StoredAnswer | None:
        """Return the answer under *key* and count its use; None where there is none or it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            self._asked_at_ms = now_ms
            self.misses[self._ghosts.reason(key)] += 1
            return None
        answer = entry.answer
        if answer.expires_at_ms <= now_ms:
            self._asked_at_ms = now_ms
            self.misses["expired"] += 1
            if answer.stale_until_ms <= now_ms:
                self._drop(entry, "expired")
            else:
                self._policy.use(entry)
            return None
        self.hits += 1
        self._policy.use(entry)
        return answer

    def get_stale(self, key: bytes, now_ms: int, max_stale_seconds: int) -> StoredAnswer | None:
        """Return the answer under *key*, expired by up to *max_stale_seconds* if that was foreseen when it was put."""
        entry = self._entries.get(key)
        return (
            entry.answer
            if entry is not None and entry.answer.may_stand_in(now_ms, max_stale_seconds)
            else None
        )

    def put(self, key: bytes, answer: StoredAnswer) -> bool:
        """Keep *answer* and let others go until all fits; False where it is too large, or the one to go."""
        size_bytes = _size(answer)
        if not self._takes(answer, size_bytes):
            return False
        self._sweep()
        entry, replaced = Entry(key, answer, size_bytes), self._entries.get(key)
        if replaced is not None:
            self._take_out(replaced)
            entry.uses = replaced.uses
        self._entries[key] = entry
        self.used_bytes += size_bytes
        self._policy.add(entry)
        self._deadlines.add(key, answer.kept_until_ms)
        while self.used_bytes > self.bounds.size_bytes or len(self._entries) > self.bounds.entries:
            self._drop(self._policy.victim(), self.bounds.exceeded_by(self.used_bytes))
        return key in self._entries

    def takes(self, answer: StoredAnswer) -> bool:
        """Return whether *answer* is not too large to be kept."""
        return self._takes(answer, _size(answer))

    def discard(self, key: bytes) -> None:
        """Forget the answer under *key*, if there is one."""
        entry = self._entries.get(key)
        if entry is not None:
            self._drop(entry, "discarded")

    def why_absent(self, key: bytes, now_ms: int) -> Absence | None:
        """Return why there is no fresh answer under *key*, as far as that is remembered; None where there is one."""
        entry = self._entries.get(key)
        if entry is None:
            return self._ghosts.reason(key)
        return "expired" if entry.answer.expires_at_ms <= now_ms else None

    def _takes(self, answer: StoredAnswer, size_bytes: int) -> bool:
        return len(answer.body) <= self._max_answer_bytes and size_bytes <= self.bounds.size_bytes

    def _sweep(self) -> None:
        """Drop some of those that had expired when somebody was last missed."""
        for _ in range(SWEPT_PER_PUT):
            key = self._deadlines.pop_due(self._asked_at_ms)
            if key is None:
                return
            self._drop(self._entries[key], "expired")

    def _drop(self, entry: Entry, departure: Departure) -> None:
        self._take_out(entry)
        self.departures[departure] += 1
        self._ghosts.remember(entry.key, _ABSENCES[departure])

    def _take_out(self, entry: Entry) -> None:
        del self._entries[entry.key]
        self.used_bytes -= entry.size_bytes
        self._policy.remove(entry)
        self._deadlines.remove(entry.key, entry.answer.kept_until_ms)


def _size(answer: StoredAnswer) -> int:
    size_bytes = len(answer.body) + ENTRY_OVERHEAD_BYTES
    for name, value in answer.headers:
        size_bytes += len(name) + len(value)
    return size_bytes + sum(map(len, answer.tagged.tags)) if answer.tagged else size_bytes
