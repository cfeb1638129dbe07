"""The same link over a Redis Cluster: redis-py finds the node of each key, and each command is a task of its own.

Dearer per command than a connection of one's own, and as true to the budget.
"""

import asyncio
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from cacheproxy.redis_link import CONNECT_SECONDS, Argument, RedisAway, RedisLink, RedisRefused

FOR_ITSELF = "COMMAND"
"""redis-py's own converter that it cannot do without; replies to our commands are wanted as they come."""


class RedisClusterLink(RedisLink):
    """What ``RedisLink`` promises, over ``redis+cluster://``."""

    def __init__(self, url: str, *, budget_seconds: float) -> None:
        self._url = url.replace("redis+cluster", "redis", 1)
        self._budget_seconds = budget_seconds
        self._client: Any = None

    async def connect(self) -> None:
        """Learn the cluster's layout.

        Raises:
            RedisAway: no node tells it within a second. It is tried again with the next command.
        """
        self._client = RedisCluster.from_url(self._url, protocol=2, retry=Retry(NoBackoff(), 0))
        for name in self._client.response_callbacks.keys() - {FOR_ITSELF}:
            del self._client.response_callbacks[name]
        await self._within(CONNECT_SECONDS, "PING")

    async def close(self) -> None:
        """Close every connection. Safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def ask(self, *command: Argument) -> asyncio.Future[Any]:
        """Send *command* to the node of its key; otherwise as ``RedisLink.ask``."""
        return asyncio.ensure_future(self._within(self._budget_seconds, *command))

    async def _within(self, seconds: float, *command: Argument) -> Any:
        if self._client is None:
            raise RedisAway("not connected")
        name, *arguments = command
        try:
            async with asyncio.timeout(seconds):
                return await self._client.execute_command(_text(name), *arguments)
        except NoScriptError as refusal:
            raise RedisRefused(f"NOSCRIPT {refusal}") from refusal
        except ResponseError as refusal:
            raise RedisRefused(str(refusal)) from refusal
        except (RedisError, RedisClusterException, OSError, TimeoutError) as failure:
            raise RedisAway(str(failure) or type(failure).__name__) from failure


def _text(name: Argument) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
