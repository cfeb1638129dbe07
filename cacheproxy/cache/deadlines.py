"""Who has expired, found without looking at those that have not. Plain."""

import heapq

TICK_BITS = 16
"""Times are told apart to 2¹⁶ ms, about a minute: nobody is found early, and somebody perhaps a minute late."""


class Deadlines:
    """Keys by the tick in which their time ends."""

    def __init__(self) -> None:
        self._keys: dict[int, set[bytes]] = {}
        self._ticks: list[int] = []

    def add(self, key: bytes, at_ms: int) -> None:
        """Note that *key*'s time ends at *at_ms*."""
        tick = at_ms >> TICK_BITS
        keys = self._keys.get(tick)
        if keys is None:
            keys = self._keys[tick] = set()
            heapq.heappush(self._ticks, tick)
        keys.add(key)

    def remove(self, key: bytes, at_ms: int) -> None:
        """Forget *key*, whose time would have ended at *at_ms*."""
        keys = self._keys.get(at_ms >> TICK_BITS)
        if keys is not None:
            keys.discard(key)

    def pop_due(self, now_ms: int) -> bytes | None:
        """Return a key whose time has ended, and forget it; None where there is none."""
        while self._ticks and self._ticks[0] < now_ms >> TICK_BITS:
            keys = self._keys[self._ticks[0]]
            if keys:
                return keys.pop()
            del self._keys[heapq.heappop(self._ticks)]
        return None
