"""The second tier: answers in Redis, shared by every gateway.

Redis may be slow, away, full or wrong; a call never waits longer for it than the budget and never fails
because of it. What goes wrong is counted, logged once when it begins and once when it ends.
"""

import asyncio
import logging
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cacheproxy.cache.answer import StoredAnswer, decode_answer, encode_answer

logger = logging.getLogger(__name__)

KEY_PREFIX = b"zerorate:"
MAX_CONNECTIONS = 64
FAILURES = (RedisError, OSError, TimeoutError)


def open_redis(url: str) -> Any:
    """Return a client for *url* (``redis://``, ``rediss://``, ``unix://`` or ``redis+cluster://``); it connects when used.

    It never retries by itself: whoever calls knows how long there is to wait.
    """
    retry = Retry(NoBackoff(), 0)
    if url.startswith("redis+cluster://"):
        return RedisCluster.from_url(url.replace("redis+cluster", "redis", 1), retry=retry)
    pool = BlockingConnectionPool.from_url(url, max_connections=MAX_CONNECTIONS, timeout=1, retry=retry)
    return Redis.from_pool(pool)


class RedisCache:
    """Answers in Redis under ``zerorate:`` and their key, expiring by themselves."""

    def __init__(self, client: Any, *, budget_seconds: float) -> None:
        self._client = client
        self._budget_seconds = budget_seconds
        self.failures = 0
        self.damaged = 0
        self._failing = False

    async def get(self, key: bytes, now_ms: int) -> StoredAnswer | None:
        """Return the answer under *key*; None where there is none, it is damaged, or Redis is not quick enough."""
        try:
            async with asyncio.timeout(self._budget_seconds):
                value = await self._client.get(KEY_PREFIX + key)
        except FAILURES as failure:
            self._count(failure)
            return None
        self._recovered()
        if value is None:
            return None
        answer = decode_answer(value)
        if answer is None:
            self.damaged += 1
            logger.warning("A damaged answer in Redis was ignored (%d so far).", self.damaged)
        elif answer.expires_at_ms <= now_ms:
            return None
        return answer

    async def put(self, key: bytes, answer: StoredAnswer, now_ms: int) -> bool:
        """Store *answer* until it expires; False where Redis did not take it within the budget."""
        try:
            async with asyncio.timeout(self._budget_seconds):
                await self._client.set(
                    KEY_PREFIX + key, encode_answer(answer), px=max(1, answer.expires_at_ms - now_ms)
                )
        except FAILURES as failure:
            self._count(failure)
            return False
        self._recovered()
        return True

    def _count(self, failure: BaseException) -> None:
        self.failures += 1
        if not self._failing:
            logger.warning(
                "Redis does not answer (%s); calls go on without the shared cache.",
                str(failure) or type(failure).__name__,
            )
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            logger.info("Redis answers again (%d failures so far).", self.failures)
        self._failing = False
