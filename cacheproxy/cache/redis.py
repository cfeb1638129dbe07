"""The second tier: answers in Redis, shared by every gateway.

Redis may be slow, away, full or wrong; a call never waits longer for it than the budget and never fails
because of it. What goes wrong is counted, logged once when it begins and once when it ends.
"""

import asyncio
import logging

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.codec import AnswerCodec
from cacheproxy.redis_link import RedisAway, RedisLink, RedisRefused

logger = logging.getLogger(__name__)

FAILURES = (RedisAway, RedisRefused)


def answer_name(key: bytes) -> bytes:
    """Return under which name Redis keeps the answer of *key*; all that a script touches shares the braces' slot."""
    return b"zerorate:answer:{" + key + b"}"


class RedisCache:
    """Answers in Redis, each under its key, expiring by themselves."""

    def __init__(self, link: RedisLink, codec: AnswerCodec) -> None:
        self.codec = codec
        self.failures = 0
        self._link = link
        self._failing = False

    @property
    def breaker(self) -> tuple[int, int]:
        """Whether Redis is left alone (0: no, 1: it is being tried, 2: yes), and how often that began."""
        return self._link.breaker

    async def connect(self) -> None:
        """Connect, so that the first look-up does not wait for it; say so where there is no connection to be had."""
        try:
            await self._link.connect()
        except FAILURES as failure:
            self.failed(failure)

    async def get(self, key: bytes, now_ms: int) -> StoredAnswer | None:
        """Return the answer under *key*; None where there is none, it is damaged, or Redis is not quick enough."""
        answer = await self._kept(key)
        return answer if answer is not None and now_ms < answer.expires_at_ms else None

    async def get_stale(self, key: bytes, now_ms: int, max_stale_seconds: int) -> StoredAnswer | None:
        """Return the answer under *key*, expired by up to *max_stale_seconds* if that was foreseen when it was put."""
        answer = await self._kept(key)
        return answer if answer is not None and answer.may_stand_in(now_ms, max_stale_seconds) else None

    async def _kept(self, key: bytes) -> StoredAnswer | None:
        try:
            value = await self._link.ask(b"GET", answer_name(key))
        except FAILURES as failure:
            self.failed(failure)
            return None
        self.recovered()
        return await self.codec.read(key, value) if isinstance(value, bytes) else None

    async def put(self, key: bytes, answer: StoredAnswer, now_ms: int) -> bool:
        """Store *answer* for as long as it is of use; False where it is too large, or Redis too slow."""
        if not self.codec.takes(answer):
            return False
        value = await self.codec.write(key, answer)
        lifetime_ms = max(1, answer.kept_until_ms - now_ms)
        try:
            await self._link.ask(b"SET", answer_name(key), value, b"PX", lifetime_ms)
        except FAILURES as failure:
            self.failed(failure)
            return False
        self.recovered()
        return True

    def discard(self, key: bytes) -> None:
        """Let Redis forget the answer under *key*. Nobody waits for it, and nothing depends on it."""
        self._link.ask(b"UNLINK", answer_name(key)).add_done_callback(_ignore_absence)

    def failed(self, failure: Exception) -> None:
        """Count a failure; the first of several is logged."""
        self.failures += 1
        if not self._failing:
            logger.warning(
                "Redis does not answer (%s); calls go on without the shared cache. Check REDIS_URL and the server.",
                failure,
            )
        self._failing = True

    def recovered(self) -> None:
        """Say that Redis answers."""
        if self._failing:
            logger.info("Redis answers again (%d failures so far).", self.failures)
        self._failing = False


def _ignore_absence(reply: "asyncio.Future[object]") -> None:
    problem = None if reply.cancelled() else reply.exception()
    if problem is not None and not isinstance(problem, FAILURES):
        logger.error("An answer could not be discarded.", exc_info=problem)
