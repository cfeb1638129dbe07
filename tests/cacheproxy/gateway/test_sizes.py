"""Answers too large to be kept, and what their clients are told."""

import json

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.upstream import FakeUpstream, answer, chat_answer

LONG = chat_answer("long " * 1000)
SET_CACHE = "UPDATE cacheproxy_servedmodel SET cache = $1"


@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        ({}, {"max_cached_answer_bytes": 1000}),
        ({"admit_after": 2}, {"max_cached_answer_bytes": 1000}),
        ({}, {"memory_cache_bytes": 1000, "redis_url": None}),
        ({"cacheable": {"max_bytes": 1000}}, {}),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
async def test_what_is_refused_for_its_size_is_not_called_stored(
    gateway_settings: GatewaySettings,
    cast: Cast,
    session: aiohttp.ClientSession,
    upstream: FakeUpstream,
    world: World,
    policy: dict[str, object],
    settings: dict[str, object],
    batch: bool,
) -> None:
    await world.sql.execute(SET_CACHE, json.dumps(policy))
    async with serving(msgspec.structs.replace(gateway_settings, **settings)) as (_, url):
        client = Client(session, url, cast.acme.key)
        for _ in range(3):
            if batch:
                vectors = [{"object": "embedding", "index": n, "embedding": [0.25] * 1000} for n in range(2)]
                upstream.then(answer({"object": "list", "data": vectors, "usage": {"prompt_tokens": 4}}))
                given = await client.post("/v1/embeddings", {"model": "embedder", "input": ["a", "b"]})
            else:
                upstream.then(answer(LONG))
                given = await client.chat()
            assert (given.status, given.headers["cache-status"]) == (200, "zerorate; fwd=miss")


async def test_what_fits_is_called_stored(client: Client) -> None:
    assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"
