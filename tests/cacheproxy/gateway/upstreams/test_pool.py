"""Connections over real sockets: kept, shared, closed in time, under both event loops."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import uvloop

from cacheproxy.gateway.upstreams.address import Address
from cacheproxy.gateway.upstreams.connection import Connection
from cacheproxy.gateway.upstreams.dialling import Origin
from cacheproxy.gateway.upstreams.errors import UpstreamBroken, UpstreamError, UpstreamLost
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.gateway.upstreams.pool import KEEP_ALIVE_SECONDS, Pool
from cacheproxy.protocols.request import UpstreamCall
from tests.cacheproxy.gateway.upstreams.conftest import SETTINGS, ask, compose, make_model, make_target
from tests.fakes.upstream import (
    FakeUpstream,
    Received,
    answer,
    drop,
    raw_answer,
    raw_head,
    stall,
    stream,
    trickle,
)

Make = Callable[..., Awaitable[FakeUpstream]]
LARGE = b"0123456789abcdef" * (4 << 20)


async def fill(pool: Pool, server: FakeUpstream) -> tuple[Origin, list[Connection]]:
    """Return where the server is, and three connections to it that are idle."""
    origin = Address(make_target(server.url)).origin
    connections = [await pool.dial(origin) for _ in range(3)]
    for connection in connections:
        pool.give_back(origin, connection)
    return origin, connections


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    """Give a pool."""
    pool = Pool(max_body_bytes=1000)
    yield pool
    await pool.stop()


async def test_the_last_given_back_is_the_first_used(pool: Pool, make_server: Make) -> None:
    origin, connections = await fill(pool, await make_server())
    assert [pool.idle(origin) for _ in range(4)] == [*reversed(connections), None]


async def test_what_was_idle_for_too_long_is_not_used(pool: Pool, make_server: Make) -> None:
    server = await make_server()
    origin, (first, *later) = await fill(pool, server)
    for connection in later:
        connection.idle_since -= KEEP_ALIVE_SECONDS + 0.1
    assert pool.idle(origin) is None or first.usable
    await asyncio.sleep(0.05)
    assert server.connections == 1


async def test_what_is_idle_for_too_long_is_closed(pool: Pool, make_server: Make) -> None:
    server = await make_server()
    _, (first, *later) = await fill(pool, server)
    for connection in later:
        connection.idle_since -= KEEP_ALIVE_SECONDS
    await asyncio.sleep(1.3)
    assert server.connections == 1
    assert first.usable


async def test_what_the_server_has_closed_is_not_used(pool: Pool, make_server: Make) -> None:
    server = await make_server()
    origin, _ = await fill(pool, server)
    await server.stop()
    await asyncio.sleep(0.05)
    assert pool.idle(origin) is None


async def test_a_large_body_goes_both_ways(make_server: Make) -> None:
    """Under both loops: what a transport keeps of a body that is not sent yet, each does its own way."""
    server = await make_server()
    settings = msgspec.structs.replace(SETTINGS, max_answer_bytes=len(LARGE))
    server.then(raw_answer(LARGE), answer({}), raw_answer(LARGE), answer({}))

    async def exchange() -> None:
        upstreams = Upstreams(settings)
        await upstreams.start()
        model = make_model(make_target(server.url))
        async with upstreams.exchange(model, lambda _: UpstreamCall("/p", LARGE), None) as got:
            assert (await got.read()).body == LARGE
        assert (await ask(upstreams, model)).ok
        await upstreams.stop()

    await exchange()
    await asyncio.to_thread(uvloop.run, exchange())
    assert [len(call.body) for call in server.received] == [len(LARGE), 18, len(LARGE), 18]
    assert server.accepted == 2


async def test_an_answer_to_half_a_call_is_read(upstreams: Upstreams) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw_head(413, content_length="5") + b"hello")
        await asyncio.sleep(0.3)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    model = make_model(make_target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    async with upstreams.exchange(model, lambda _: UpstreamCall("/p", LARGE), None) as got:
        assert (await got.read())[:3] == (413, [], b"hello")
    async with upstreams.exchange(model, lambda _: UpstreamCall("/p", LARGE), None) as got:
        assert got.status == 413
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.4)


async def test_an_ipv6_address_is_reached(upstreams: Upstreams) -> None:
    server = FakeUpstream(host="::1")
    try:
        await server.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert (await ask(upstreams, make_model(make_target(server.url)))).ok
    assert server.received[0].headers["host"] == server.url.removeprefix("http://")
    await server.stop()


async def test_answers_under_uvloop(make_server: Make) -> None:
    server = await make_server()
    server.then(
        answer({}), drop(), stream(b"data: 1\n\n", b"data: 2\n\n"), stall(raw_head(content_length="9"))
    )

    async def asking() -> None:
        upstreams = Upstreams(SETTINGS)
        await upstreams.start()
        model = make_model(make_target(server.url, idle_timeout_seconds=0.2))
        assert (await ask(upstreams, model)).body == b"{}"
        with pytest.raises(UpstreamLost):
            await ask(upstreams, model)
        async with upstreams.exchange(model, compose, None) as exchange:
            assert b"".join([chunk async for chunk in exchange.chunks()]) == b"data: 1\n\ndata: 2\n\n"
        started = time.monotonic()
        with pytest.raises(UpstreamError, match="stopped in the middle"):
            await ask(upstreams, model)
        assert 0.15 < time.monotonic() - started < 1
        await upstreams.stop()

    await asyncio.to_thread(uvloop.run, asking())


async def echo(call: Received, writer: asyncio.StreamWriter) -> None:
    """Say again what was said, in several parts."""
    raw = raw_head(content_length=str(len(call.body))) + call.body
    await trickle(raw, pause_seconds=0, size=40)(call, writer)


async def test_calls_at_once_have_each_their_own_answer(upstreams: Upstreams, make_server: Make) -> None:
    server = await make_server(echo)
    model = make_model(make_target(server.url))

    async def one(number: int) -> bool:
        call = UpstreamCall("/p", b"%d" % number)
        async with upstreams.exchange(model, lambda _: call, None) as exchange:
            if number % 7 == 3:
                return True  # given up: the answer must not reach the next call
            return (await exchange.read()).body == call.body

    for _ in range(20):
        assert all(await asyncio.gather(*map(one, range(50))))
    assert server.accepted < 400


async def test_calls_given_up_at_any_moment_leave_no_connection_half_used(
    upstreams: Upstreams, make_server: Make
) -> None:
    server = await make_server(echo)
    model = make_model(make_target(server.url))

    async def one(number: int) -> bytes:
        call = UpstreamCall("/p", b"%d" % number)
        async with upstreams.exchange(model, lambda _: call, None) as exchange:
            return (await exchange.read()).body

    for steps in range(40):
        call = asyncio.ensure_future(one(steps))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
        assert call.cancelled() or call.result() == b"%d" % steps
        assert await one(1000 + steps) == b"%d" % (1000 + steps)
    await asyncio.sleep(0.05)
    assert server.connections <= 2


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(b"x" * 100_001), "gzip"),
        (gzip.compress(b"hello", mtime=0)[:-3], "gzip"),
        (gzip.compress(b"hello", mtime=0) + b"more", "gzip"),
        (b"hello", "br"),
    ],
)
async def test_what_is_not_as_its_encoding_says_is_broken(
    upstreams: Upstreams, make_server: Make, body: bytes, coding: str
) -> None:
    server = await make_server()
    server.then(raw_answer(body, headers={"content-encoding": coding}))
    with pytest.raises(UpstreamBroken):
        await ask(upstreams, make_model(make_target(server.url)))
    await asyncio.sleep(0.05)
    assert not server.connections


async def test_a_compressed_stream_is_read_part_by_part(upstreams: Upstreams, make_server: Make) -> None:
    server = await make_server()
    body = gzip.compress(b"data: hello\n\n" * 100)
    server.then(
        trickle(
            raw_head(content_length=str(len(body)), content_encoding="gzip") + body, pause_seconds=0, size=3
        )
    )
    async with upstreams.exchange(make_model(make_target(server.url)), compose, None) as exchange:
        parts = [part async for part in exchange.chunks()]
    assert all(parts)
    assert b"".join(parts) == b"data: hello\n\n" * 100
    assert exchange.whole


async def test_a_secret_with_a_line_break_is_not_sent(
    upstreams: Upstreams, make_server: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server = await make_server()
    with pytest.raises(UpstreamBroken):
        await ask(upstreams, make_model(make_target(server.url, secret="sk-ours\r\nx: y")))
    assert not server.accepted
    assert "authorization" in caplog.text
    assert "sk-ours" not in caplog.text
