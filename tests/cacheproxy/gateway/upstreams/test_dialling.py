"""From a name to a connection: addresses in turn, the first that answers, and certificates that are good."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from cacheproxy.gateway.upstreams.connection import Connection
from cacheproxy.gateway.upstreams.dialling import Dialler, Names, Origin, _first
from cacheproxy.gateway.upstreams.errors import UpstreamUnreachable
from cacheproxy.gateway.upstreams.failover import Upstreams
from tests.cacheproxy.gateway.upstreams.conftest import SETTINGS, ask, make_model, make_target
from tests.fakes.upstream import FakeUpstream

TLS = Path(__file__).parents[3] / "fakes" / "tls"
NAME = Origin(False, "models.example", 80)


class Loop(asyncio.SelectorEventLoop):
    """Knows the addresses of every name, and counts how often it was asked."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.addresses = addresses
        self.asked = 0
        self.late_seconds = 0.0

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror("nobody has that name")
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in self.addresses
        ]

    def time(self) -> float:
        return super().time() + self.late_seconds


def run(loop: Loop, main: Coroutine[Any, Any, None]) -> None:
    with contextlib.closing(loop):
        loop.run_until_complete(main)


def test_families_take_turns_and_so_do_addresses() -> None:
    async def main() -> None:
        names = Names()
        assert await names.addresses(NAME) == ["::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3"]
        assert (await names.addresses(NAME))[0] == "10.0.0.1"
        assert (await names.addresses(NAME))[0] == "::2"

    run(Loop("::1", "::2", "10.0.0.1", "10.0.0.2", "10.0.0.3"), main())


def test_a_name_is_looked_up_again_after_a_while_and_a_literal_never() -> None:
    loop = Loop("10.0.0.1")

    async def main() -> None:
        names = Names()
        for _ in range(3):
            await names.addresses(NAME)
            assert await names.addresses(Origin(True, "::1", 443)) == ["::1"]
        assert loop.asked == 1
        loop.addresses, loop.late_seconds = ("10.0.0.9",), 10.1
        assert await names.addresses(NAME) == ["10.0.0.9"]
        assert loop.asked == 2

    run(loop, main())


def test_a_name_that_nobody_has_is_asked_for_again() -> None:
    loop = Loop()

    async def main() -> None:
        names = Names()
        for asked in (1, 2):
            with pytest.raises(socket.gaierror):
                await names.addresses(NAME)
            assert loop.asked == asked

    run(loop, main())


class Line:
    """Stands for a connection."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def attempt(line: Any, seconds: float, failure: Exception | None = None) -> Any:
    await asyncio.sleep(seconds)
    if failure is not None:
        raise failure
    return line


async def test_the_first_to_answer_is_taken_and_the_slow_are_not_waited_for() -> None:
    slow, quick = Line(), Line()
    before = asyncio.all_tasks()
    async with asyncio.timeout(1):
        got: Any = await _first([partial(attempt, slow, 9), partial(attempt, quick, 0)])
    assert got is quick
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_the_next_is_tried_at_once_when_one_fails_and_the_last_failure_is_told() -> None:
    async with asyncio.timeout(0.2):
        got: Any = await _first(
            [partial(attempt, None, 0, OSError("1")), partial(attempt, line := Line(), 0)]
        )
        assert got is line
        with pytest.raises(OSError, match=r"^2$"):
            await _first([partial(attempt, None, 0, OSError(n)) for n in ("1", "2")])


async def test_a_race_given_up_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    race = asyncio.ensure_future(_first([partial(attempt, Line(), 9), partial(attempt, Line(), 9)]))
    await asyncio.sleep(0.3)
    race.cancel()
    with pytest.raises(asyncio.CancelledError):
        await race
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_dead_address_is_passed_over() -> None:
    server = FakeUpstream()
    await server.start()
    port = int(server.url.rpartition(":")[2])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        dialler, listed = Dialler(), set[Connection]()
        connection = await dialler.dial(
            Origin(False, "models.example", port), lambda: Connection(loop, 1, listed)
        )
        assert listed == {connection}
        connection.abort()
        await connection.lost.wait()
        assert not listed

    await asyncio.to_thread(run, Loop("127.0.0.2", "127.0.0.1"), main())
    async with asyncio.timeout(2):
        while not server.accepted or server.connections:  # noqa: ASYNC110 - the fake has no event for it
            await asyncio.sleep(0.01)
    await server.stop()


@contextlib.asynccontextmanager
async def tls_server(host: str) -> AsyncIterator[FakeUpstream]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    server = FakeUpstream(host=host, tls=context)
    await server.start()
    yield server
    await asyncio.sleep(0.05)  # the server's side of a failed handshake ends by itself
    await server.stop()


async def ask_once(url: str) -> int:
    upstreams = Upstreams(SETTINGS)
    await upstreams.start()
    try:
        return (await ask(upstreams, make_model(make_target(url)))).status
    finally:
        await upstreams.stop()


async def test_a_good_certificate_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "authority.pem"))
    async with tls_server("127.0.0.1") as server:
        assert await ask_once(server.url) == 200
        by_name = server.url.replace("127.0.0.1", "localhost")
        assert await asyncio.to_thread(uvloop.run, ask_once(by_name)) == 200


@pytest.mark.parametrize(
    ("host", "knows_the_authority", "saying"),
    [("127.0.0.1", False, "unable to get local issuer"), ("127.0.0.2", True, "IP address mismatch")],
)
async def test_another_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    host: str,
    knows_the_authority: bool,
    saying: str,
) -> None:
    if knows_the_authority:
        monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "authority.pem"))
    async with tls_server(host) as server:
        with pytest.raises(UpstreamUnreachable):
            await ask_once(server.url)
        assert not server.received
    assert saying in caplog.text
