"""The headers as OpenAI's clients read them."""

import pytest

from cacheproxy.gateway.limits.headers import duration, rate_headers
from cacheproxy.gateway.limits.local import Level, LocalCounters
from cacheproxy.gateway.limits.rules import Rate
from cacheproxy.gateway.limits.script import UNIT


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, b"0s"),
        (1, b"1ms"),
        (999, b"999ms"),
        (1000, b"1s"),
        (1001, b"2s"),
        (59_001, b"1m0s"),
        (360_000, b"6m0s"),
    ],
)
def test_a_span_is_written_as_openai_does(milliseconds: int, text: bytes) -> None:
    assert duration(milliseconds) == text


def test_of_plan_and_key_the_tighter_is_told() -> None:
    counters = LocalCounters()
    counters.levels[b"plan"] = Level(90 * UNIT, 1000)
    counters.levels[b"key"] = Level(2 * UNIT, 1000)
    rates = [Rate(b"plan", "requests", 100, "plan"), Rate(b"key", "requests", 20, "key")]

    assert dict(rate_headers(rates, counters, 1000)) == {
        b"x-ratelimit-limit-requests": b"100",
        b"x-ratelimit-remaining-requests": b"10",
        b"x-ratelimit-reset-requests": b"54s",
    }


def test_what_has_drained_is_free_again() -> None:
    counters = LocalCounters()
    counters.levels[b"plan"] = Level(100 * UNIT, 0)
    rates = [Rate(b"plan", "tokens", 100, "plan")]

    remaining = [
        dict(rate_headers(rates, counters, now_ms))[b"x-ratelimit-remaining-tokens"]
        for now_ms in (0, 30_000, 60_000, 120_000)
    ]
    assert remaining == [b"0", b"50", b"100", b"100"]
