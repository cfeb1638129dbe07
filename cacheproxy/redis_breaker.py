"""Leaving a slow Redis alone: calls are not held up by it, one after the other, for what will not come in time.

It opens when replies were late for some turns of the event loop in a row: after a tenth of a second Redis is asked
for a sign of life, which no call waits for, and then at intervals that double. The first sign that comes in time
closes it. What is away altogether needs none of this: without a connection commands fail at once.
"""

import asyncio
from collections.abc import Callable
from typing import Any

NEVER = 0
"""Late replies allowed where it never opens."""
SHORTEST_PAUSE_SECONDS = 0.1
"""Before the first probe: Redis may only have stopped for breath, and without it upstreams are asked more."""
LONGEST_PAUSE_SECONDS = 2.0


class Breaker:
    """Whether Redis is too slow to be asked."""

    def __init__(self, late_allowed: int, *, probe: Callable[[], asyncio.Future[Any]]) -> None:
        """*probe* asks Redis for a sign of life; it fails where there is none within the budget."""
        self.is_open = False
        self.openings = 0
        self._late_allowed = late_allowed
        self._probe = probe
        self._late = 0
        self._pause_seconds = SHORTEST_PAUSE_SECONDS
        self._waiting: asyncio.TimerHandle | None = None

    @property
    def state(self) -> int:
        """0 while it is closed, 1 while a probe is under way, else 2."""
        if not self.is_open:
            return 0
        return 2 if self._waiting else 1

    def in_time(self) -> None:
        """Take note of a reply within the budget."""
        self._late = 0

    def late(self) -> None:
        """Take note of a turn of which at least one command had no reply within the budget."""
        self._late += 1
        if self._late >= self._late_allowed > NEVER and not self.is_open:
            self.is_open = True
            self.openings += 1
            self._pause_seconds = SHORTEST_PAUSE_SECONDS
            self._wait()

    def stop(self) -> None:
        """Probe no more."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _wait(self) -> None:
        self._waiting = asyncio.get_running_loop().call_later(self._pause_seconds, self._try)

    def _try(self) -> None:
        self._waiting = None
        self._probe().add_done_callback(self._tried)

    def _tried(self, sign: asyncio.Future[Any]) -> None:
        if not sign.cancelled() and sign.exception() is None:
            self.is_open, self._late = False, 0
            return
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        self._wait()
