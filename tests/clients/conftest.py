"""One stage for all tests of clients."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import msgspec
import openai
import psycopg
import pytest
import redis
from django.conf import settings
from django.core.management import call_command
from psycopg.rows import namedtuple_row
from pytest_django.plugin import DjangoDbBlocker

from cacheproxy.gateway.config import GatewaySettings
from examples import child
from tests.cacheproxy.gateway.world import PEPPER, World, connect
from tests.clients.stage import Heads, Loop, Stage, got
from tests.conftest import clean, url_of_test_database
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.openai.server import FakeOpenAI

POOLS = {"input": "2", "cache_read": "0.2", "cache_write": "2.5", "output": "8", "units": "1000"}
PRICED = ("gpt", "claude", "omni-moderation-latest", "measure-json", "measure-form", "measure-raw")
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak to loopback alone: each would read every root certificate of the machine, in 40 ms."""
LIMIT = "UPDATE billing_plan SET requests_per_minute = 60 WHERE id = $1"


@pytest.fixture(autouse=True)
def _database(db: None) -> None:
    """Ask for the test database in the way by which pytest-django knows that it has to be made."""


@pytest.fixture(scope="package")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture(scope="package")
def servers(loop: Loop) -> Iterator[tuple[FakeOpenAI, FakeAnthropic]]:
    made = FakeOpenAI(key="sk-openai"), FakeAnthropic(key="sk-anthropic")
    for server in made:
        loop.run(server.start())
    yield made
    for server in made:
        loop.run(server.stop())


@pytest.fixture(scope="package")
def databases(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[str, str]]:
    """Give the URLs of an empty database and an empty Redis, for as long as the package's tests last."""
    database_url = url_of_test_database()
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.flushdb()
    clean(database_url)
    yield database_url, settings.REDIS_URL
    with django_db_blocker.unblock():
        call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=False)
    clean(database_url)
    store.flushdb()
    store.close()


@pytest.fixture(scope="package")
def stage(
    databases: tuple[str, str],
    servers: tuple[FakeOpenAI, FakeAnthropic],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """Give a gateway that serves."""
    database_url, redis_url = databases
    predict_port = child.free_port()
    key, limited_key = asyncio.run(_populate(database_url, *servers, predict_port))
    told = GatewaySettings(
        database_url=database_url, redis_url=redis_url, key_pepper=PEPPER, redis_budget_seconds=2
    )
    environment = os.environ | {
        "GATEWAY_SETTINGS": msgspec.json.encode(told).decode(),
        "OPENAI_SERVER_KEY": "sk-openai",
        "ANTHROPIC_SERVER_KEY": "sk-anthropic",
    }
    url = f"http://127.0.0.1:{(port := child.free_port())}"
    command = ["-m", "tests.cacheproxy.gateway.process", str(port)]
    log: Path = tmp_path_factory.mktemp("clients") / "gateway.log"
    with (
        child.running(command, ready_url=f"{url}/v2/health/ready", log=log, environment=environment),
        psycopg.connect(database_url, autocommit=True, row_factory=namedtuple_row) as ledger,
    ):
        yield Stage(url, ledger, *servers, predict_port, key, limited_key)


async def _populate(
    database_url: str, chat: FakeOpenAI, messages: FakeAnthropic, predict_port: int
) -> tuple[str, str]:
    connection = await connect(database_url)
    world = World(connection)
    for name in ("gpt", "unpriced", "omni-moderation-latest"):
        await world.add_model(name, f"{chat.url}/v1", api_key_env="OPENAI_SERVER_KEY")
    await world.add_model("claude", messages.url, protocol="anthropic", api_key_env="ANTHROPIC_SERVER_KEY")
    for way in ("json", "form", "raw"):
        url = f"http://127.0.0.1:{predict_port}/{way}"
        await world.add_model(f"measure-{way}", url, protocol="predict")
    prices = dict.fromkeys(PRICED, POOLS)
    acme = await world.add_tenant("acme", await world.add_plan("standard", prices, {"exact": "100"}))
    limited_plan = await world.add_plan("limited", prices, {"exact": "100"})
    await connection.execute(LIMIT, limited_plan)
    limited = await world.add_tenant("limited", limited_plan)
    await connection.close()
    return acme.key, limited.key


class Speaker(NamedTuple):
    """A client, what it calls its model, and the heads of all answers that it got."""

    client: Any
    model: str
    heads: Heads


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    """Give each of the two ways that clients work."""
    way: str = request.param
    return way


@pytest.fixture
async def gpt(stage: Stage, way: str) -> AsyncIterator[Speaker]:
    """Give OpenAI's client at the gateway."""
    heads = Heads()
    client = openai_client(way, f"{stage.url}/v1", stage.key, heads)
    yield Speaker(client, "gpt", heads)
    await got(client.close())


@pytest.fixture
async def straight_gpt(stage: Stage, way: str) -> AsyncIterator[Speaker]:
    """Give OpenAI's client straight at the server."""
    heads = Heads()
    client = openai_client(way, f"{stage.openai.url}/v1", "sk-openai", heads)
    yield Speaker(client, "small", heads)
    await got(client.close())


def openai_client(way: str, base_url: str, key: str, heads: Heads) -> Any:
    """Return OpenAI's client, which retries nothing."""
    hooks = heads.hooks(asynchronous=way == "async")
    if way == "async":
        return openai.AsyncOpenAI(
            base_url=base_url,
            api_key=key,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks=hooks, verify=NO_TLS),
        )
    return openai.OpenAI(
        base_url=base_url,
        api_key=key,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(event_hooks=hooks, verify=NO_TLS),
    )


@pytest.fixture
async def claude(stage: Stage, way: str) -> AsyncIterator[Speaker]:
    """Give Anthropic's client at the gateway."""
    heads = Heads()
    client = anthropic_client(way, stage.url, stage.key, heads)
    yield Speaker(client, "claude", heads)
    await got(client.close())


@pytest.fixture
async def straight_claude(stage: Stage, way: str) -> AsyncIterator[Speaker]:
    """Give Anthropic's client straight at the server."""
    heads = Heads()
    client = anthropic_client(way, stage.anthropic.url, "sk-anthropic", heads)
    yield Speaker(client, "small", heads)
    await got(client.close())


def anthropic_client(way: str, base_url: str, key: str, heads: Heads) -> Any:
    """Return Anthropic's client, which retries nothing."""
    hooks = heads.hooks(asynchronous=way == "async")
    if way == "async":
        return anthropic.AsyncAnthropic(
            base_url=base_url,
            api_key=key,
            max_retries=0,
            http_client=anthropic.DefaultAsyncHttpxClient(event_hooks=hooks, verify=NO_TLS),
        )
    return anthropic.Anthropic(
        base_url=base_url,
        api_key=key,
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(event_hooks=hooks, verify=NO_TLS),
    )
