"""An expired answer in the place of a failure: how the call says so."""

import json
from collections.abc import Callable

import pytest

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.stale import cache_status, stale_until_ms, stale_usage
from cacheproxy.policy import PolicyError, parse_cache_policy
from tests.cacheproxy.cache.conftest import NOW_MS

Make = Callable[..., StoredAnswer]


def test_the_header_names_the_failure_and_the_age(make_answer: Make) -> None:
    answer, now_ms = make_answer(lifetime_ms=1_000), NOW_MS + 13_000
    told = b"zerorate; hit; fwd=stale; fwd-status=503; ttl=-12; detail=stale-if-error"
    assert cache_status(answer, now_ms, 503) == told
    assert cache_status(answer, now_ms, None) == told.replace(b"; fwd-status=503", b"")


def test_the_event_keeps_what_it_stood_in_for(make_answer: Make) -> None:
    usage = stale_usage(make_answer(lifetime_ms=1_000), NOW_MS + 13_000, 504, "upstream_timeout")
    stated = {"status": 504, "code": "upstream_timeout", "stale_seconds": 12}
    assert json.loads(usage) == {"stale_if_error": stated}


def test_without_a_policy_nothing_stands_in() -> None:
    assert stale_until_ms(NOW_MS, 0) == 0
    assert stale_until_ms(NOW_MS, 60) == NOW_MS + 60_000
    assert parse_cache_policy({}).stale_if_error_seconds == 0


@pytest.mark.parametrize("seconds", [-1, 31 * 86_400, 1.5, "60"])
def test_the_policy_is_bounded(seconds: object) -> None:
    with pytest.raises(PolicyError, match="stale_if_error_seconds"):
        parse_cache_policy({"stale_if_error_seconds": seconds})
