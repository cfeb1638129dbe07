"""Questions that match an expression: their answers end everywhere, and sealed they are nowhere to be read."""

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import pytest
import redis
from django.core.management import call_command
from django.db import connections

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, Semantic, findings, remembered
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream

OTHER = "Who painted the Mona Lisa?"
ONLY = {"cache-control": "only-if-cached"}
Invalidate = Callable[..., Awaitable[None]]


@pytest.fixture
def invalidate(gateway: tuple[Gateway, str]) -> Invalidate:
    """Give the command, run beside the gateway."""

    def run(*arguments: str) -> None:
        try:
            call_command("invalidate_cache", "--tenant", "acme", *arguments)
        finally:
            connections.close_all()

    async def invalidate(*arguments: str) -> None:
        await asyncio.to_thread(run, *arguments)

    return invalidate


async def is_gone(client: Client, text: str) -> bool:
    return (await client.chat(text, headers=ONLY)).status == 504


async def test_answers_end_in_every_gateway_and_in_redis(
    client: Client,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    gateway_settings: GatewaySettings,
    semantic: Semantic,
    invalidate: Invalidate,
) -> None:
    server = redis.Redis.from_url(str(gateway_settings.redis_url))
    await client.chat(OTHER)
    shown = await client.chat(ASKED, headers={"x-zerorate-show-key": "true"})
    key = shown.headers["x-zerorate-key"]
    await remembered(world, 2)
    async with serving(gateway_settings, open_tier=semantic.open) as (_, url):
        beside = Client(client.session, url, client.key)
        for known in (client, beside):
            assert (await known.chat(ASKED)).headers["cache-status"].startswith("zerorate; hit")
            assert (await known.chat(REWORDED)).headers["cache-status"].endswith("detail=semantic")
        assert server.keys(f"*{key}*")
        await invalidate("--matching", r"cancel .* ticket")
        for known in (client, beside):
            for text in (ASKED, REWORDED):
                await eventually(partial(is_gone, known, text), within_seconds=1)
            assert not await is_gone(known, OTHER)

        async def forgotten() -> bool:
            return not server.keys(f"*{key}*")

        await eventually(forgotten)
        await remembered(world, 1)
    assert (await client.chat(ASKED)).headers["cache-status"] == "zerorate; fwd=miss; stored"
    await remembered(world, 2)
    assert (await client.chat(REWORDED)).headers["cache-status"].endswith("detail=semantic")
    await invalidate("--matching", "ticket")
    await eventually(lambda: is_gone(client, REWORDED), within_seconds=1)
    server.close()


class TestSealed:
    @pytest.fixture
    def gateway_settings(self, gateway_settings: GatewaySettings) -> GatewaySettings:
        key = base64.b64encode(os.urandom(32)).decode()
        return msgspec.structs.replace(gateway_settings, cache_encryption_keys=f"one:{key}")

    async def test_no_text_is_in_the_table_and_hits_go_on(
        self, client: Client, cast: Cast, world: World, upstream: FakeUpstream
    ) -> None:
        await client.chat(ASKED)
        await remembered(world)
        rows = await world.sql.fetch("SELECT entry::text, question FROM cacheproxy_semanticentry AS entry")
        for words in (ASKED.encode(), b"cancel", b"train", b"ticket"):
            assert all(words not in row["question"] for row in rows)
            assert all(words.hex() not in row["entry"] and words.decode() not in row["entry"] for row in rows)
        assert (await client.chat(REWORDED)).headers["cache-status"].endswith("detail=semantic")

    async def test_what_another_key_sealed_is_a_miss_and_counted(
        self, client: Client, cast: Cast, world: World, upstream: FakeUpstream,
        gateway_settings: GatewaySettings, semantic: Semantic,
    ) -> None:  # fmt: skip
        await client.chat(ASKED)
        await remembered(world)
        key = base64.b64encode(os.urandom(32)).decode()
        stranger = msgspec.structs.replace(gateway_settings, cache_encryption_keys=f"two:{key}")
        async with serving(stranger, open_tier=semantic.open) as (gateway, url):
            assert await is_gone(Client(client.session, url, client.key), REWORDED)
            assert findings((gateway, url)) == {"foreign": 1}
            assert semantic.opened[-1].tier.counts["unreadable"] == 1
