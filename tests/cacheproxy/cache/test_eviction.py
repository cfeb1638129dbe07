"""Who goes when there is no room: by the book for each policy, and better than chance on traces."""

from collections.abc import Callable
from typing import get_args

import pytest

from benchmarks import cache_policies
from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.eviction import PolicyName
from cacheproxy.cache.memory import MemoryCache
from cacheproxy.cache.sketch import FrequencySketch
from tests.cacheproxy.cache.conftest import NOW_MS

Make = Callable[..., StoredAnswer]


def ask(cache: MemoryCache, names: str, answer: StoredAnswer) -> None:
    """Ask for each letter of *names*, and put what is missing."""
    for name in names:
        if cache.get(name.encode(), NOW_MS) is None:
            cache.put(name.encode(), answer)


def kept(cache: MemoryCache) -> str:
    return "".join(sorted(key.decode() for key in cache._entries))


@pytest.mark.parametrize(
    ("policy", "asked", "left"),
    [
        ("lru", "abcad", "acd"),
        ("lru", "aaaabcd", "bcd"),
        ("lfu", "aabbccd", "abc"),
        ("lfu", "aaabbcd", "abd"),
        ("lfu", "abcabd", "abd"),
        (
            "w-tinylfu",
            "aabbcd",
            "abd",
        ),  # the newest waits in the window; its forerunner was asked for once only
        ("w-tinylfu", "aabbcdefgh", "abh"),
        ("w-tinylfu", "aabbcdcdc", "abc"),  # to be asked for as often as the first to go is not enough
        ("w-tinylfu", "aabbcdcdcd", "bcd"),  # c was asked for three times by then, and is let in
    ],
)
def test_who_goes(policy: PolicyName, asked: str, left: str, make_answer: Make) -> None:
    cache = MemoryCache(1 << 20, max_entries=3, policy=policy)
    ask(cache, asked, make_answer())
    assert kept(cache) == left


def test_a_large_newcomer_has_to_beat_everyone_who_would_go_for_it(make_answer: Make) -> None:
    room = MemoryCache(1 << 20)
    room.put(b"x", make_answer())
    cache = MemoryCache(10 * room.used_bytes)
    ask(cache, "abcdefghij" * 2, make_answer())
    large = make_answer(b"x" * (4 * room.used_bytes))
    for _ in range(2):
        assert not cache.put(b"large", large)
        assert kept(cache) == "abcdefghij"
    assert cache.put(b"large", large)
    assert len(cache) == 6
    assert cache.departures == {"bytes": 2 + 5}


def test_popularity_ages(make_answer: Make) -> None:
    """Who was asked for a thousand times long ago makes room for who is asked for now."""
    cache = MemoryCache(1 << 20, max_entries=3)
    ask(cache, "a" * 1000 + "b" * 1000 + "xyz" * 4_000, make_answer())
    assert not {"a", "b"} <= set(kept(cache))


@pytest.mark.parametrize("policy", get_args(PolicyName))
@pytest.mark.parametrize("trace", cache_policies.TRACES)
def test_no_policy_beats_the_bound(policy: PolicyName, trace: str) -> None:
    requests = cache_policies.TRACES[trace]()[:15_000]
    best = cache_policies.best_percent(requests, 500)
    assert 0 <= cache_policies.hit_percent(policy, requests, 500) <= best


@pytest.mark.parametrize(("trace", "points"), [("Zipf", 7), ("Zipf, shifting", 6), ("Zipf and scans", 5)])
def test_the_default_is_worth_its_price(trace: str, points: int) -> None:
    requests = cache_policies.TRACES[trace]()[:30_000]
    rates = {policy: cache_policies.hit_percent(policy, requests, 500) for policy in get_args(PolicyName)}
    assert rates["w-tinylfu"] >= rates["lru"] + points
    assert rates["w-tinylfu"] >= rates["lfu"]


def test_the_bound_is_the_best_of_all_ways() -> None:
    """Against trying everything, on a trace short enough for that."""

    def best(place: int, held: frozenset[int]) -> int:
        if place == len(trace):
            return 0
        asked = trace[place]
        if asked in held:
            return 1 + best(place + 1, held)
        ways = [held, *(held - {gone} | {asked} for gone in held)] if len(held) == 2 else [held | {asked}]
        return max(best(place + 1, way) for way in ways)

    trace = [0, 1, 2, 0, 3, 1, 2, 0, 4, 1, 3]
    hits = best(0, frozenset())
    assert cache_policies.best_percent(trace, 2) == pytest.approx(100 * hits / len(trace))


def test_a_sketch_is_never_too_low_and_seldom_too_high() -> None:
    sketch = FrequencySketch(1_000)
    seen = {b"%d" % number: number % 20 + 1 for number in range(5_000)}
    for key, count in seen.items():
        sketch.raise_to(key, count)
    estimates = {key: sketch.estimate(key) for key in seen}
    assert all(estimates[key] >= count for key, count in seen.items())
    assert sum(estimates[key] > count for key, count in seen.items()) < 0.05 * len(seen)
    sketch.halve()
    assert sketch.estimate(b"19") == estimates[b"19"] // 2
    sketch.raise_to(b"often", 1_000)
    assert sketch.estimate(b"often") == 255
