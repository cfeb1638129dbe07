"""Hearing what others publish at Redis, whatever becomes of the server that tells it."""

import asyncio
import contextlib
from collections.abc import Callable

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cacheproxy.redis_connection import RedisAway
from cacheproxy.redis_places import Places

CONNECT_SECONDS = 1.0
SILENCE_SECONDS = 1.0
"""After which Redis is asked for a sign of life; after as much again it is taken for dead."""
PAUSE_SECONDS = 0.5


async def listen(places: Places, channel: bytes, hear: Callable[[bytes], None]) -> None:
    """Call *hear* with what is published on *channel*, until cancelled. What comes between two connections is lost.

    Of a cluster any node will do: each tells what is published at the others.
    """
    while True:
        with contextlib.suppress(RedisError, RedisAway, OSError, TimeoutError):
            await _listen_at(await places.find(), channel, hear)
        await asyncio.sleep(PAUSE_SECONDS)


async def _listen_at(url: str, channel: bytes, hear: Callable[[bytes], None]) -> None:
    async with (
        Redis.from_url(url, socket_connect_timeout=CONNECT_SECONDS, retry=Retry(NoBackoff(), 0)) as client,
        client.pubsub() as subscription,
    ):
        await subscription.subscribe(channel)
        asked = False
        while True:
            message = await subscription.get_message(timeout=SILENCE_SECONDS)
            if message is not None:
                asked = False
                if message["type"] == "message":
                    hear(message["data"])
            elif asked:
                return
            else:
                await subscription.ping()
                asked = True
