"""The memory tier: least recently used out first, bounded by bytes, expiring."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.memory import ENTRY_OVERHEAD_BYTES, MemoryCache
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


def test_the_least_recently_used_goes_first(make_answer: Make) -> None:
    cache = MemoryCache(ROOM_FOR_TWO)
    cache.put(b"a", make_answer())
    cache.put(b"b", make_answer())
    cache.get(b"a", NOW_MS)
    cache.put(b"c", make_answer())

    assert cache.get(b"b", NOW_MS) is None
    assert cache.get(b"a", NOW_MS) is not None
    assert cache.get(b"c", NOW_MS) is not None


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


@given(st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 9), st.integers(0, 5000))))
def test_it_never_holds_more_than_it_may(steps: list[tuple[str, int, int]]) -> None:
    cache = MemoryCache(8 * ENTRY_OVERHEAD_BYTES)
    for step, name, size in steps:
        key = b"%d" % name
        if step == "p":
            cache.put(key, _answer(size))
        elif step == "g":
            cache.get(key, NOW_MS + size)
        else:
            cache.discard(key)
        held = [answer for answer in map(cache._answers.get, list(cache._answers)) if answer]
        sizes = (len(answer.body) + HEADERS_BYTES + ENTRY_OVERHEAD_BYTES for answer in held)
        assert cache.used_bytes == sum(sizes)
        assert cache.used_bytes <= cache.capacity_bytes


def _answer(size: int) -> StoredAnswer:
    import uuid

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
