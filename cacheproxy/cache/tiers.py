"""The tiers as one cache: memory, then Redis; what is found further away is kept nearer."""

import asyncio
import random
from collections.abc import Collection

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.memory import MemoryCache
from cacheproxy.cache.redis import RedisCache


class Tiers:
    """Memory in front of Redis (where there is one)."""

    def __init__(self, memory: MemoryCache, redis: RedisCache | None) -> None:
        self.memory = memory
        self.redis = redis

    async def fetch(self, key: bytes, now_ms: int, max_stale_seconds: int = 0) -> StoredAnswer | None:
        """Return the answer under *key* from the tiers behind memory, which the caller has asked already."""
        if self.redis is None:
            return None
        answer = await self.redis.get_stale(key, now_ms, max_stale_seconds)
        if answer is not None:
            self.memory.put(key, answer)
        return answer

    async def fetch_many(self, keys: Collection[bytes], now_ms: int) -> dict[bytes, StoredAnswer]:
        """Return those of *keys* that any tier has an answer for; Redis is asked for all of the rest at once."""
        found = {key: answer for key in keys if (answer := self.memory.get(key, now_ms)) is not None}
        rest = [key for key in keys if key not in found]
        fetched = await asyncio.gather(*(self.fetch(key, now_ms) for key in rest))
        found.update((key, answer) for key, answer in zip(rest, fetched, strict=True) if answer is not None)
        return found

    async def get_stale(self, key: bytes, now_ms: int, max_stale_seconds: int) -> StoredAnswer | None:
        """Return an answer that may stand in for the upstream's failure, the younger one of all tiers'.

        Another gateway may have a fresh one by now; that does as well.
        """
        near = self.memory.get_stale(key, now_ms, max_stale_seconds)
        far = await self.redis.get_stale(key, now_ms, max_stale_seconds) if self.redis is not None else None
        found = [answer for answer in (near, far) if answer is not None]
        return max(found, key=lambda answer: answer.stored_at_ms, default=None)

    def takes(self, answer: StoredAnswer) -> bool:
        """Return whether *answer* is small enough for any tier."""
        return self.memory.takes(answer) or (self.redis is not None and self.redis.codec.takes(answer))

    def discard(self, key: bytes) -> None:
        """Forget the answer under *key* in every tier. Nobody waits for those that are far."""
        self.memory.discard(key)
        if self.redis is not None:
            self.redis.discard(key)


def expiry_ms(now_ms: int, ttl_seconds: int, jitter: float) -> int:
    """Return when an answer stored at *now_ms* expires: a random share of up to *jitter* earlier than its TTL.

    Answers that were stored together so do not expire together, and none outlives its policy.
    """
    ttl_ms = ttl_seconds * 1000
    return now_ms + ttl_ms - int(ttl_ms * jitter * random.random())  # noqa: S311 - spreads load, keeps no secret
