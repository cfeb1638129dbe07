"""Upstreams without a gateway around them: models made by hand, scripted servers, leaks found."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from cacheproxy.gateway.catalog.catalog import Model, Target
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.upstreams.exchange import UpstreamAnswer
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.policy import CachePolicy
from cacheproxy.protocols.request import UpstreamCall
from cacheproxy.rules import ModelRules
from tests.fakes.upstream import Behaviour, FakeUpstream

SETTINGS = GatewaySettings(database_url="", key_pepper="", max_answer_bytes=100_000)


def make_target(url: str, **changes: Any) -> Target:
    values: dict[str, Any] = {
        "upstream": "local",
        "protocol": "openai",
        "url": url,
        "upstream_model": "small",
        "api_key_env": "",
        "weight": 1,
        "priority": 0,
        "timeout_seconds": 5.0,
        "connect_timeout_seconds": 5.0,
        "first_byte_timeout_seconds": 5.0,
        "idle_timeout_seconds": 5.0,
        "breaker_failures": 3,
        "breaker_open_seconds": 10.0,
    }
    return Target(**values | changes)


def make_model(*targets: Target, retry: Any = "safe", name: str = "qwen") -> Model:
    return Model(
        name=name,
        version="1",
        protocol=targets[0].protocol,
        targets=targets,
        retry=retry,
        rules=ModelRules(CachePolicy()),
        metering={},
        upstream_digest=b"",
    )


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def compose(upstream_model: str) -> UpstreamCall:
    return UpstreamCall("/chat/completions", b'{"model": "%b"}' % upstream_model.encode())


async def ask(upstreams: Upstreams, model: Model) -> UpstreamAnswer:
    """Return the whole answer to one call."""
    async with upstreams.exchange(model, compose, "tests/1") as exchange:
        return await exchange.read()


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
async def upstreams(clock: Clock) -> AsyncIterator[Upstreams]:
    """Give upstreams; afterwards neither a task nor a call under way may be left."""
    before = asyncio.all_tasks()
    upstreams = Upstreams(SETTINGS, clock=clock)
    await upstreams.start()
    yield upstreams
    assert set(upstreams.calls_under_way().values()) <= {0}
    await asyncio.sleep(0)
    names = {repr(task.get_coro()) for task in asyncio.all_tasks() - before - {asyncio.current_task()}}
    assert not {name for name in names if "FakeUpstream" not in name}, "tasks were left behind"
    await upstreams.stop()


@pytest.fixture
async def make_server() -> AsyncIterator[Callable[..., Any]]:
    """Give a maker of scripted model servers; afterwards none may have a connection left but idle ones."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(by_default: Behaviour | None = None) -> FakeUpstream:
            server = FakeUpstream(by_default)
            await server.start()
            stack.push_async_callback(server.stop)
            return server

        yield make


@pytest.fixture
def refusing_url() -> Iterator[str]:
    """Give a URL where nobody listens, and nobody will."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@pytest.fixture
def deaf_url() -> Iterator[str]:
    """Give a URL whose server accepts no more connections: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"
