"""Requests that are kept, of tenants who let them be, and the command that sends requests again."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django import Settings

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import PEPPER, Client, World, eventually
from tests.fakes.upstream import FakeUpstream

Warm = Callable[..., Awaitable[str]]


@pytest.fixture
def gateway_settings(gateway_settings: GatewaySettings) -> GatewaySettings:
    return msgspec.structs.replace(gateway_settings, statistics_seconds=0.05)


@pytest.fixture
def warm(settings: Settings, tmp_path: Path, gateway: tuple[Gateway, str]) -> Warm:
    """Give the command, run beside the gateway; it returns what it printed."""
    settings.HOME, settings.KEY_PEPPER = tmp_path, PEPPER

    def run(*arguments: str) -> str:
        out = StringIO()
        try:
            call_command(
                "warm_cache", "--tenant", "acme", "--url", gateway[1], *arguments, stdout=out, stderr=out
            )
        except CommandError as error:
            return f"{out.getvalue()}{error}"
        finally:
            connections.close_all()
        return out.getvalue()

    async def warm(*arguments: str) -> str:
        return await asyncio.to_thread(run, *arguments)

    return warm


def questions(path: Path, *texts: str, last: str = "") -> str:
    lines = [
        {
            "url": "/v1/chat/completions",
            "body": {"model": "qwen-small", "messages": [{"role": "user", "content": text}]},
        }
        for text in texts
    ]
    path.write_text("\n".join([*map(json.dumps, lines), last]))
    return str(path)


def nothing_left(home: Path) -> bool:
    return not list(home.glob("warm-up/*"))


async def kept(world: World) -> list[Any]:
    rows: list[Any] = await world.sql.fetch("SELECT * FROM cacheproxy_keptrequest ORDER BY times DESC, id")
    return rows


async def keep_content(world: World, gateway: Gateway, tenant_id: int, client: Client) -> None:
    """Switch it on, and wait until the gateway knows."""
    await world.sql.execute("UPDATE tenants_tenant SET keep_content = true WHERE id = $1", tenant_id)

    async def is_known() -> bool:
        await client.chat("Are you there?", {"cache-control": "no-cache"})
        await gateway._statistics.write()
        return bool(await kept(world))

    await eventually(is_known)
    await world.sql.execute("DELETE FROM cacheproxy_keptrequest")


async def test_a_file_is_warmed_up_at_the_tenants_cost(
    warm: Warm, client: Client, tmp_path: Path, world: World, upstream: FakeUpstream
) -> None:
    file = questions(tmp_path / "q.jsonl", "one", "two", "one", "three")
    await client.chat("two")
    printed = await warm("--file", file, "--concurrency", "2")
    assert "1 hits, 2 misses, 0 failed." in printed
    assert len(upstream.received) == 3
    answer = await client.chat("three")
    assert "hit" in answer.headers["cache-status"]
    keys = await world.sql.fetch("SELECT id, revoked_at FROM tenants_apikey WHERE name = 'cache warm-up'")
    assert [key["revoked_at"] is not None for key in keys] == [True]
    events = [event for event in await world.events() if event["api_key_id"] == keys[0]["id"]]
    assert sorted(event["outcome"] for event in events) == ["exact", "miss", "miss"]
    assert nothing_left(tmp_path)


async def test_what_failed_is_tried_again_and_nothing_else(
    warm: Warm, tmp_path: Path, world: World, upstream: FakeUpstream
) -> None:
    unknown = {"model": "yet-to-come", "input": "x"}
    file = questions(tmp_path / "q.jsonl", "one", last=json.dumps({"url": "/v1/embeddings", "body": unknown}))
    printed = await warm("--file", file)
    assert "0 hits, 1 misses, 1 failed." in printed
    assert "1 failed; the same command tries them again." in printed
    assert "1 × 404" in printed
    printed = await warm("--file", file)
    assert "0 hits, 0 misses, 1 failed (1 were done before)." in printed
    assert len(upstream.received) == 1


async def test_what_is_no_request_is_named_before_anything_is_sent(
    warm: Warm, tmp_path: Path, upstream: FakeUpstream
) -> None:
    file = questions(tmp_path / "q.jsonl", "one", last='{"body": {}}')
    assert "Line 2 is no request" in await warm("--file", file)
    assert "No such file" in await warm("--file", str(tmp_path / "nothing"))
    assert not upstream.received


async def test_the_most_repeated_are_those_that_the_tenant_asked_most(
    warm: Warm,
    client: Client,
    stranger: Client,
    cast: Cast,
    world: World,
    gateway: tuple[Gateway, str],
    upstream: FakeUpstream,
) -> None:
    await keep_content(world, gateway[0], cast.acme.id, client)
    for text, times in (("often", 3), ("twice", 2), ("once", 1)):
        for _ in range(times):
            await client.chat(text, {"x-zerorate-session": "s1"})
            await stranger.chat(text)
    await client.chat("secret", {"cache-control": "no-store"})

    async def are_counted() -> bool:
        return [row["times"] for row in await kept(world)] == [3, 2, 1]

    await eventually(are_counted)
    rows = await kept(world)
    assert {row["tenant_id"] for row in rows} == {cast.acme.id}
    assert json.loads(rows[0]["body"])["messages"][0]["content"] == "often"
    await world.invalidate(cast.acme.id)
    await asyncio.sleep(0.3)
    before = len(upstream.received)
    assert "0 hits, 2 misses, 0 failed." in await warm("--most-repeated", "2", "--days", "1")
    assert len(upstream.received) == before + 2
    for text, outcome in (("often", "hit"), ("twice", "hit"), ("once", "fwd=miss")):
        answer = await client.chat(text, {"x-zerorate-session": "s1"})
        assert outcome in answer.headers["cache-status"]
    await asyncio.sleep(0.2)
    assert [row["times"] for row in await kept(world)] == [4, 3, 2], "a warm-up asks nothing once more"


async def test_without_consent_nothing_is_kept(
    warm: Warm, client: Client, world: World, gateway: tuple[Gateway, str], session: aiohttp.ClientSession
) -> None:
    await client.chat("one")
    await gateway[0]._statistics.write()
    assert await kept(world) == []
    assert "The requests of acme are not kept" in await warm("--most-repeated", "5")
