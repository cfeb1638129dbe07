"""The ``x-ratelimit-*`` headers, as OpenAI sends them and its clients read them."""

from collections.abc import Iterable

from cacheproxy.gateway.limits.local import LocalCounters
from cacheproxy.gateway.limits.rules import Kind, Rate
from cacheproxy.gateway.limits.script import UNIT

Header = tuple[bytes, bytes]
_NAMES: dict[Kind, tuple[bytes, bytes, bytes]] = {
    "requests": (
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
    ),
    "tokens": (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens"),
}


def rate_headers(rates: Iterable[Rate], counters: LocalCounters, now_ms: int) -> list[Header]:
    """Return limit, remaining and reset for requests and for tokens, each of the tighter limit of the two.

    Reset is when the rate would be unused again.
    """
    tightest: dict[Kind, tuple[int, int, int]] = {}
    for key, kind, per_minute, _ in rates:
        level = counters.level(key, per_minute, now_ms)
        state = max(0, per_minute - -(-level // UNIT)), per_minute, level
        if kind not in tightest or state < tightest[kind]:
            tightest[kind] = state
    headers: list[Header] = []
    for kind, (remaining, per_minute, level) in tightest.items():
        limit_name, remaining_name, reset_name = _NAMES[kind]
        headers += (
            (limit_name, b"%d" % per_minute),
            (remaining_name, b"%d" % remaining),
            (reset_name, duration(-(-level // per_minute))),
        )
    return headers


def duration(milliseconds: int) -> bytes:
    """Return a span as Go writes it, which is how OpenAI does: 0s, 250ms, 1s, 6m0s."""
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, seconds = divmod(-(-milliseconds // 1000), 60)
    return b"%dm%ds" % (minutes, seconds) if minutes else b"%ds" % seconds
