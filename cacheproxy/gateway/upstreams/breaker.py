"""A circuit breaker: an upstream that keeps failing is left alone for a while, then tried by one call at a time.

::

    closed ──── N failures in a row ────► open ──── its seconds are over ────► half-open
      ▲                                    ▲                                       │
      │                                    └────────── the probe fails ────────────┤
      └───────────────── the head of a good answer comes for the probe ────────────┘

After a probe one more failure opens it again, until a whole answer has come. What a call reports that began before
the last opening says nothing of how things are now, and is not counted. It keeps no clock: *now* is in seconds on
any clock that does not go back.
"""

from typing import Literal

State = Literal["closed", "half_open", "open"]
CODES: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}
"""The states in metrics."""


class Breaker:
    """The state of one upstream, as this process sees it."""

    __slots__ = (
        "_failures",
        "_failures_allowed",
        "_is_open",
        "_open_seconds",
        "_probing",
        "_until",
        "openings",
    )

    def __init__(self, failures_allowed: int, open_seconds: float) -> None:
        self._failures_allowed = failures_allowed
        self._open_seconds = open_seconds
        self._failures = 0
        self._is_open = False
        self._probing = False
        self._until = 0.0
        self.openings = 0
        """How often it opened; a call notes it when it begins, as its ticket."""

    def state(self, now: float) -> State:
        """Return the state at *now*."""
        if not self._is_open:
            return "closed"
        return "open" if now < self._until else "half_open"

    def admits(self, now: float) -> bool:
        """Return whether a call may begin at *now*: always, unless it is open or another call is the probe."""
        return not self._is_open or (now >= self._until and not self._probing)

    def wait_seconds(self, now: float) -> float:
        """Return how long it stays open from *now* on."""
        return max(0.0, self._until - now) if self._is_open else 0.0

    def begin(self) -> int:
        """Return the ticket of a call that was admitted; it is the probe where the breaker is not closed."""
        self._probing = self._is_open
        return self.openings

    def answered(self, ticket: int) -> None:
        """Take note of the head of a good answer."""
        if ticket == self.openings and self._is_open:
            self._is_open = self._probing = False
            self._failures = self._failures_allowed - 1

    def succeeded(self, ticket: int) -> None:
        """Take note of a whole good answer."""
        if ticket == self.openings:
            self.answered(ticket)
            self._failures = 0

    def failed(self, ticket: int, now: float) -> None:
        """Take note of a failure."""
        if ticket != self.openings:
            return
        self._failures += 1
        if self._is_open or self._failures >= self._failures_allowed:
            self._is_open, self._probing = True, False
            self._failures = 0
            self._until = now + self._open_seconds
            self.openings += 1

    def abandoned(self, ticket: int) -> None:
        """Take note of a call that ended without telling anything: let another one be the probe."""
        if ticket == self.openings:
            self._probing = False
