"""Links to the test's Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from cacheproxy.redis_link import RedisLink, open_link

Connect = Callable[..., Awaitable[RedisLink]]


@pytest.fixture
async def connect_link(redis_url: str) -> AsyncIterator[Connect]:
    """Give a maker of connected links, patient with a busy machine unless told otherwise; closed afterwards."""
    links = []

    async def connect(url: str = redis_url, *, budget_seconds: float = 2.0) -> RedisLink:
        links.append(open_link(url, budget_seconds=budget_seconds))
        await links[-1].connect()
        return links[-1]

    yield connect
    for link in links:
        await link.close()


@pytest.fixture
async def link(connect_link: Connect) -> RedisLink:
    """Give a connected link."""
    return await connect_link()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    """Give a client of the test's own, by other hands than ours."""
    async with Redis.from_url(redis_url) as client:
        yield client
