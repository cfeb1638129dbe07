"""The ``x-ratelimit-*`` headers, as OpenAI sends them and its clients read them."""

from collections.abc import Iterable
from typing import NamedTuple

from cacheproxy.gateway.limits.local import LocalCounters
from cacheproxy.gateway.limits.rules import Kind, Rate
from cacheproxy.gateway.limits.script import UNIT

Header = tuple[bytes, bytes]


class _State(NamedTuple):
    """A rate at an instant; the one with least remaining is what a client has to heed."""

    remaining: int
    limit: int
    reset_ms: int


def rate_headers(rates: Iterable[Rate], counters: LocalCounters, now_ms: int) -> list[Header]:
    """Return limit, remaining and reset for requests and for tokens, each of the tighter limit of the two.

    Reset is when the rate would be unused again.
    """
    tightest: dict[Kind, _State] = {}
    for rate in rates:
        state = _state(rate, counters.level(rate.key, rate.per_minute, now_ms))
        tightest[rate.kind] = min(tightest.get(rate.kind, state), state)
    return [header for kind, state in tightest.items() for header in _headers(kind.encode(), state)]


def _state(rate: Rate, level: int) -> _State:
    remaining = max(0, rate.per_minute - -(-level // UNIT))
    return _State(remaining, rate.per_minute, -(-level // rate.per_minute))


def _headers(kind: bytes, state: _State) -> list[Header]:
    return [
        (b"x-ratelimit-limit-" + kind, b"%d" % state.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % state.remaining),
        (b"x-ratelimit-reset-" + kind, duration(state.reset_ms)),
    ]


def duration(milliseconds: int) -> bytes:
    """Return a span as Go writes it, which is how OpenAI does: 0s, 250ms, 1s, 6m0s."""
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, seconds = divmod(-(-milliseconds // 1000), 60)
    return b"%dm%ds" % (minutes, seconds) if minutes else b"%ds" % seconds
