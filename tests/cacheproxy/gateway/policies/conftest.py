"""A gateway under a policy, and its clients."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, World, serving

SET_CACHE = "UPDATE cacheproxy_servedmodel SET cache = $1 WHERE name = $2"
Under = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def under(
    world: World, cast: Cast, gateway_settings: GatewaySettings, session: aiohttp.ClientSession
) -> Under:
    """Return what serves acme while a model has this policy."""

    @contextlib.asynccontextmanager
    async def serve(model: str = "qwen-small", **policy: Any) -> AsyncIterator[Client]:
        await world.sql.execute(SET_CACHE, json.dumps(policy), model)
        async with serving(gateway_settings) as (_, url):
            yield Client(session, url, cast.acme.key)

    return serve
