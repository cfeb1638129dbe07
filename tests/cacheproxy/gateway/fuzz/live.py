"""A gateway on a socket that many examples are tried on, one event loop for all of them, and what it may answer."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings, HttpSettings
from cacheproxy.gateway.http.protocol import HttpProtocol
from tests.cacheproxy.gateway.fuzz.samples import SAMPLES, Sample
from tests.cacheproxy.gateway.world import PEPPER, World, connect, eventually, serving
from tests.fakes.upstream import Behaviour, FakeUpstream, Received, answer
from tests.faults.client import Seen, parsed
from tests.faults.stage import Leftovers, Servers, open_sockets, with_remnants

SECONDS = 10
"""In which every call is answered, whatever it is."""


class Impatient(HttpProtocol):
    """The protocol with time limits for tests."""

    settings = HttpSettings(head_seconds=0.6, body_stall_seconds=0.6, linger_seconds=0.3, tick_seconds=0.05)


class Live:
    """The gateway, and a way to say anything to it."""

    def __init__(
        self, runner: asyncio.Runner, gateway: Gateway, url: str, key: str, upstream: FakeUpstream
    ) -> None:
        self.runner = runner
        self.gateway = gateway
        self.port = int(url.rsplit(":", 1)[1])
        self.key = key
        self.upstream = upstream
        self.examples = 0

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Seen:
        """Post *body* as the tenant does, and return the answer."""
        fields = {
            "host": "localhost",
            "authorization": f"Bearer {self.key}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **(headers or {}),
        }
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return self.say("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def say(self, *parts: bytes, pause_seconds: float = 0) -> Seen:
        """Send these bytes and return the answer."""
        return parsed(self.raw(*parts, pause_seconds=pause_seconds))

    def raw(self, *parts: bytes, pause_seconds: float = 0) -> bytes:
        """Send these bytes and return all that comes until the gateway closes the connection."""
        return self.runner.run(self._raw(parts, pause_seconds))

    async def _raw(self, parts: tuple[bytes, ...], pause_seconds: float) -> bytes:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                sending = asyncio.create_task(_send(writer, parts, pause_seconds))
                received = b""
                with contextlib.suppress(ConnectionResetError):
                    while part := await reader.read(1 << 16):
                        received += part
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                return received
            finally:
                writer.transport.abort()

    def upstream_answers(self, *behaviours: Behaviour) -> None:
        """Let the upstream answer the next calls like this, and forget what it had not been asked."""
        self.upstream._script.clear()
        self.upstream.then(*behaviours)

    def unheard_of(self) -> int:
        """Return a number that no example had before."""
        self.examples += 1
        return self.examples


async def _send(writer: asyncio.StreamWriter, parts: tuple[bytes, ...], pause_seconds: float) -> None:
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_seconds)


async def _by_default(call: Received, writer: asyncio.StreamWriter) -> None:
    """Answer as the surface's server does, whatever it was asked."""
    path = call.path.removeprefix("/openai").removeprefix("/anthropic").removeprefix("/oip")
    sample = SAMPLES.get(path) or SAMPLES["/v2/models/iris/infer" if "infer" in path else "/v1/predict/ocr"]
    await answer(sample.answer)(call, writer)


@contextlib.contextmanager
def live(servers: Servers, **changes: Any) -> Iterator[Live]:
    """Yield a gateway that serves every surface; afterwards nothing of it may be left."""
    with asyncio.Runner() as runner:
        before = runner.run(_sockets())
        stack = contextlib.AsyncExitStack()
        gateway, url, key, upstream = runner.run(stack.enter_async_context(_served(servers, changes)))
        try:
            yield Live(runner, gateway, url, key, upstream)
            left = runner.run(_calls_of(gateway))
        finally:
            runner.run(stack.aclose())
        left = runner.run(with_remnants(left, before))
        assert left == Leftovers(0, 0, 0, [], []), left


async def _calls_of(gateway: Gateway) -> Leftovers:
    """Return what *gateway* still does after a while in which it may end."""

    async def nothing() -> bool:
        return _counted(gateway) == Leftovers(0, 0, 0)

    with contextlib.suppress(TimeoutError):
        await eventually(nothing)
    return _counted(gateway)


def _counted(gateway: Gateway) -> Leftovers:
    works = len(gateway._flight._under_way) + len(gateway._coalescing._works)
    return Leftovers(0, works, sum(gateway._upstreams.calls_under_way().values()))


async def _sockets() -> frozenset[str]:
    return open_sockets()


@contextlib.asynccontextmanager
async def _served(servers: Servers, changes: Any) -> AsyncIterator[tuple[Gateway, str, str, FakeUpstream]]:
    upstream = FakeUpstream(_by_default)
    await upstream.start()
    connection = await connect(servers.database_url)
    world = World(connection)
    for sample in {sample.model: sample for sample in SAMPLES.values()}.values():
        await world.add_model(sample.model, _base_url(sample, upstream), protocol=sample.protocol, timeout_seconds=5,
                              metering={"units": {"per_call": 1}} if sample.protocol == "oip" else {})  # fmt: skip
    prices = {sample.model: {"input": "1", "output": "1", "units": "1"} for sample in SAMPLES.values()}
    tenant = await world.add_tenant("acme", await world.add_plan("standard", prices, {}))
    settings = msgspec.structs.replace(
        GatewaySettings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            key_pepper=PEPPER,
            redis_budget_seconds=2.0,
            max_answer_bytes=1 << 20,
        ),
        **changes,
    )
    async with serving(settings, http=Impatient) as (gateway, url):
        yield gateway, url, tenant.key, upstream
    await connection.close()
    await upstream.stop()


def _base_url(sample: Sample, upstream: FakeUpstream) -> str:
    return (
        upstream.url + {"openai": "/v1", "anthropic": "", "oip": "", "predict": "/predict"}[sample.protocol]
    )


class Problem(NamedTuple):
    """An error as the protocol's clients read it."""

    code: str
    param: str | None
    message: str


def problem_of(sample: Sample, seen: Seen) -> Problem:
    """Return the error in *seen*, which must have the shape of the sample's protocol."""
    document = json.loads(seen.body)
    if sample.protocol == "oip":
        return Problem(document["code"], document["param"], document["error"])
    error = document["error"]
    assert isinstance(error["type"], str)
    if sample.protocol == "anthropic":
        assert document["type"] == "error"
        return Problem(error["details"]["error_code"], error["details"]["param"], error["message"])
    return Problem(error["code"], error["param"], error["message"])


def check_clear(sample: Sample, seen: Seen) -> None:
    """Check that the call was answered, or refused clearly: in the protocol's shape, with a code and a request id."""
    assert seen.status, "no answer"
    assert seen.status != 500
    assert len(seen.headers["x-request-id"]) == 36
    assert b"Traceback" not in seen.body
    assert b'File "' not in seen.body
    if seen.status >= 400:
        problem = problem_of(sample, seen)
        assert problem.code
        assert problem.message
        assert seen.headers["content-type"] == "application/json"
        if problem.code in {"missing_field", "invalid_field"}:
            assert problem.param
