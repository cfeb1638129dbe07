"""The first tier: answers in this process, least recently used out first, bounded by bytes."""

from collections import OrderedDict

from cacheproxy.cache.answer import StoredAnswer

ENTRY_OVERHEAD_BYTES = 1024
"""What an entry costs beside its answer: key, struct, integers, slots in the dict (measured, rounded up)."""


class MemoryCache:
    """A dict in order of use. Nothing here waits, so that a hit costs no turn of the event loop."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.evictions = 0
        self._answers: OrderedDict[bytes, StoredAnswer] = (
            OrderedDict()
        )  # whose first is at hand, as a dict's is not

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: bytes, now_ms: int) -> StoredAnswer | None:
        """Return the answer under *key* and make it the last to go; None where there is none or it has expired."""
        answer = self._answers.get(key)
        if answer is None:
            return None
        if answer.expires_at_ms <= now_ms:
            if answer.stale_until_ms <= now_ms:
                self.discard(key)
            else:
                self._answers.move_to_end(key)
            return None
        self._answers.move_to_end(key)
        return answer

    def get_stale(self, key: bytes, now_ms: int, max_stale_seconds: int) -> StoredAnswer | None:
        """Return the answer under *key*, expired by up to *max_stale_seconds* if that was foreseen when it was put."""
        answer = self._answers.get(key)
        return answer if answer is not None and answer.may_stand_in(now_ms, max_stale_seconds) else None

    def put(self, key: bytes, answer: StoredAnswer) -> bool:
        """Keep *answer* and let the least recently used go until all fits; False where it alone is too large."""
        size = _size(answer)
        if size > self.capacity_bytes:
            return False
        self.discard(key)
        self._answers[key] = answer
        self.used_bytes += size
        while self.used_bytes > self.capacity_bytes:
            self.discard(next(iter(self._answers)))
            self.evictions += 1
        return True

    def discard(self, key: bytes) -> None:
        """Forget the answer under *key*, if there is one."""
        answer = self._answers.pop(key, None)
        if answer is not None:
            self.used_bytes -= _size(answer)


def _size(answer: StoredAnswer) -> int:
    headers = sum(len(name) + len(value) for name, value in answer.headers)
    tags = sum(map(len, answer.tagged.tags)) if answer.tagged else 0
    return len(answer.body) + headers + tags + ENTRY_OVERHEAD_BYTES
