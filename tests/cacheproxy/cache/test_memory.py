"""The memory tier: bounded by bytes and by entries, expiring, and able to say what became of an answer."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.eviction import PolicyName
from cacheproxy.cache.memory import ENTRY_OVERHEAD_BYTES, SWEPT_PER_PUT, MemoryCache
from metering.tokens import TokenPools
from tests.cacheproxy.cache.conftest import NOW_MS

Make = Callable[..., StoredAnswer]
HEADERS_BYTES = len(b"content-type" + b"application/json")
ROOM_FOR_TWO = 2 * (ENTRY_OVERHEAD_BYTES + HEADERS_BYTES + 2)


def test_what_was_put_is_got(make_answer: Make) -> None:
    cache, answer = MemoryCache(ROOM_FOR_TWO), make_answer()
    assert cache.get(b"k", NOW_MS) is None
    assert cache.put(b"k", answer)
    assert cache.get(b"k", NOW_MS) is answer


def test_an_answer_expires_and_its_bytes_return(make_answer: Make) -> None:
    cache = MemoryCache(ROOM_FOR_TWO)
    cache.put(b"a", make_answer(lifetime_ms=10))
    assert cache.get(b"a", NOW_MS + 9) is not None
    assert cache.get(b"a", NOW_MS + 10) is None
    assert (len(cache), cache.used_bytes) == (0, 0)


def test_an_expired_answer_stays_for_as_long_as_it_may_stand_in(make_answer: Make) -> None:
    cache = MemoryCache(ROOM_FOR_TWO)
    answer = make_answer(lifetime_ms=10_000, stale_ms=60_000)
    cache.put(b"a", answer)
    assert cache.get_stale(b"a", NOW_MS + 9_999, 0) is answer
    assert cache.get(b"a", NOW_MS + 10_000) is None
    assert cache.get_stale(b"a", NOW_MS + 10_000, 60) is answer
    assert cache.get_stale(b"a", NOW_MS + 69_999, 3600) is answer
    assert cache.used_bytes == ROOM_FOR_TWO // 2

    assert cache.get_stale(b"a", NOW_MS + 70_000, 3600) is None
    assert cache.get(b"a", NOW_MS + 70_000) is None
    assert (len(cache), cache.used_bytes) == (0, 0)


def test_a_policy_that_has_become_stricter_holds_for_what_is_kept(make_answer: Make) -> None:
    cache = MemoryCache(ROOM_FOR_TWO)
    cache.put(b"a", make_answer(lifetime_ms=10_000, stale_ms=60_000))
    assert cache.get_stale(b"a", NOW_MS + 14_999, 5) is not None
    assert cache.get_stale(b"a", NOW_MS + 15_000, 5) is None
    assert cache.get_stale(b"a", NOW_MS + 10_000, 0) is None
    cache.put(b"b", make_answer(lifetime_ms=10_000))
    assert cache.get_stale(b"b", NOW_MS + 10_000, 3600) is None


def test_an_answer_larger_than_all_is_not_kept_and_evicts_nobody(make_answer: Make) -> None:
    cache = MemoryCache(ROOM_FOR_TWO)
    cache.put(b"a", make_answer())
    assert not cache.put(b"b", make_answer(b"x" * ROOM_FOR_TWO))
    assert len(cache) == 1


def test_it_is_bounded_by_entries_too(make_answer: Make) -> None:
    cache = MemoryCache(1 << 20, max_entries=2)
    for key in (b"a", b"b", b"c"):
        cache.put(key, make_answer())
    assert len(cache) == 2
    assert cache.departures == {"entries": 1}


def test_a_newer_answer_takes_the_place_of_the_one_before(make_answer: Make) -> None:
    cache, newer = MemoryCache(ROOM_FOR_TWO), make_answer(b"[]")
    cache.put(b"a", make_answer(b"{}"))
    assert cache.put(b"a", newer)
    assert cache.get(b"a", NOW_MS) is newer
    assert (len(cache), cache.used_bytes, cache.departures) == (1, ROOM_FOR_TWO // 2, {})


def test_why_an_answer_is_not_there(make_answer: Make) -> None:
    cache = MemoryCache(1 << 20, max_entries=2, policy="lru")
    assert cache.why_absent(b"a", NOW_MS) == "never_seen"
    cache.put(b"a", make_answer(lifetime_ms=10))
    cache.put(b"b", make_answer())
    cache.put(b"c", make_answer())
    assert cache.why_absent(b"a", NOW_MS) == "evicted"
    cache.put(b"d", make_answer(lifetime_ms=10))
    cache.get(b"d", NOW_MS + 10)
    assert cache.why_absent(b"d", NOW_MS) == "expired"
    assert cache.why_absent(b"c", NOW_MS) is None
    cache.discard(b"c")
    assert cache.why_absent(b"c", NOW_MS) == "discarded"
    for key in (b"a", b"b", b"c", b"d", b"e"):
        cache.get(key, NOW_MS)
    assert cache.misses == {"evicted": 2, "discarded": 1, "expired": 2, "never_seen": 1}
    assert cache.departures == {"entries": 2, "expired": 1, "discarded": 1}


def test_what_nobody_asks_for_again_leaves_when_it_has_expired(make_answer: Make) -> None:
    """A minute late at most, and few at a time."""
    cache = MemoryCache(1 << 20)
    for number in range(SWEPT_PER_PUT + 4):
        cache.put(b"%d" % number, make_answer(lifetime_ms=1_000))
    late_ms = NOW_MS + 1_000 + (1 << 16)
    cache.get(b"a", late_ms)
    cache.put(b"a", make_answer(lifetime_ms=600_000))
    assert len(cache) == 1 + 4
    cache.put(b"b", make_answer(lifetime_ms=600_000))
    assert len(cache) == 2
    assert cache.departures == {"expired": SWEPT_PER_PUT + 4}


@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_what_is_popular_survives_what_is_not(policy: PolicyName, make_answer: Make) -> None:
    cache = MemoryCache(1 << 24, max_entries=100, policy=policy)
    for number in range(5_000):
        for key in (b"popular %d" % (number % 10), b"once %d" % number):
            if cache.get(key, NOW_MS) is None:
                cache.put(key, make_answer())
    assert cache.hits == 5_000 - 10


def test_the_size_of_one_answer_is_bounded(make_answer: Make) -> None:
    cache = MemoryCache(1 << 20, max_answer_bytes=10)
    assert cache.put(b"a", make_answer(bytes(10)))
    assert not cache.put(b"b", make_answer(bytes(11)))


@given(
    st.sampled_from(get_args(PolicyName)),
    st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 9), st.integers(0, 5000))),
)
def test_it_never_holds_more_than_it_may(policy: PolicyName, steps: list[tuple[str, int, int]]) -> None:
    cache, model = MemoryCache(8 * ENTRY_OVERHEAD_BYTES, max_entries=5, policy=policy), {}
    for step, name, size in steps:
        key = b"%d" % name
        if step == "p":
            if cache.put(key, answer := _answer(size)):
                model[key] = answer
        elif step == "g":
            got = cache.get(key, NOW_MS + size)
            assert got is None or (got is model[key] and size < 2500)
        else:
            cache.discard(key)
        held = [model[key] for key in cache._entries]
        sizes = (len(answer.body) + HEADERS_BYTES + ENTRY_OVERHEAD_BYTES for answer in held)
        assert cache.used_bytes == sum(sizes) <= 8 * ENTRY_OVERHEAD_BYTES
        assert len(cache) <= 5


def test_a_hit_takes_less_than_a_tenth_of_a_millisecond() -> None:
    """At p99, by pytest-benchmark, which has to be alone."""
    alone = ["-q", "-c", os.devnull, "--rootdir", ".", "--noconftest", "-p", "no:xdist", "-p", "no:django"]
    measured = Path(__file__).with_name("benchmark_memory.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", *alone, str(measured)]
    subprocess.run(command, cwd=measured.parents[3], env=environment, check=True, timeout=60)


def _answer(size: int) -> StoredAnswer:
    return StoredAnswer(
        body=b"x" * size,
        source_event=uuid.UUID(int=size),
        stored_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + 2500,
        stale_until_ms=NOW_MS + 4000 if size % 2 else 0,
        pools=TokenPools(),
        output_reasoning=0,
        units=0,
        quality="reported",
    )
