"""What a look-up in memory takes. Run by `test_memory.py` alone: beside xdist nothing is measured."""

import uuid
from typing import Any, get_args

import pytest

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.eviction import PolicyName
from cacheproxy.cache.memory import MemoryCache
from metering.tokens import TokenPools

ENTRIES = 50_000
ANSWER = StoredAnswer(
    body=b"{}",
    source_event=uuid.UUID(int=0),
    stored_at_ms=0,
    expires_at_ms=60_000,
    pools=TokenPools(),
    output_reasoning=0,
    units=0,
    quality="reported",
)


@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_a_hit_takes_less_than_a_tenth_of_a_millisecond(policy: PolicyName, benchmark: Any) -> None:
    cache = MemoryCache(1 << 28, policy=policy)
    keys = [b"k1:%064d" % number for number in range(ENTRIES)]
    for key in keys:
        cache.put(key, ANSWER)
    asked = iter(keys)
    benchmark.pedantic(lambda: cache.get(next(asked), 1), rounds=ENTRIES // 2)
    assert cache.hits >= ENTRIES // 2
    times = sorted(benchmark.stats.stats.data)
    assert times[int(0.99 * len(times))] < 0.0001
