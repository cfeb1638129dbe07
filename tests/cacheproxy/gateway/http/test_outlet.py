"""Bytes leave in order, together with other connections', and all of them before the end."""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from cacheproxy.gateway.http.outlet import Outbox, Outlet


class Line(NamedTuple):
    """An outlet, and what comes out of it."""

    outlet: Outlet
    client: asyncio.StreamReader
    transport: asyncio.Transport
    writer: asyncio.StreamWriter
    """The client's; what is not held is collected, and closed."""


async def line(outbox: Outbox) -> Line:
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    client, writer = await asyncio.open_connection(sock=theirs)
    return Line(Outlet(transport, outbox), client, transport, writer)


@pytest.fixture
async def lines() -> AsyncIterator[list[Line]]:
    outbox = Outbox.of(asyncio.get_running_loop())
    lines = [await line(outbox) for _ in range(3)]
    yield lines
    for each in lines:
        each.transport.abort()
        each.writer.close()
    await asyncio.sleep(0)


async def test_a_loop_has_one_outbox(lines: list[Line]) -> None:
    loop = asyncio.get_running_loop()
    assert Outbox.of(loop) is Outbox.of(loop)


async def test_what_is_to_be_written_soon_leaves_at_the_end_of_the_turn(lines: list[Line]) -> None:
    for number, each in enumerate(lines):
        each.outlet.write_soon(b"one %d" % number)
        assert each.transport.get_write_buffer_size() == 0
        assert each.outlet.unsent_bytes == 5
    for number, each in enumerate(lines):
        assert await each.client.read(99) == b"one %d" % number
        assert each.outlet.unsent_bytes == 0


async def test_bytes_leave_in_the_order_in_which_they_were_written(lines: list[Line]) -> None:
    outlet, client, *_ = lines[0]
    outlet.write_soon(b"1")
    outlet.write_soon(b"2")
    outlet.write(b"3", b"4")
    outlet.write_soon(b"5")
    outlet.end()
    assert await client.read() == b"12345"


@pytest.mark.parametrize("end", [Outlet.close, Outlet.cut, Outlet.end])
async def test_all_leave_before_the_end(lines: list[Line], end: object) -> None:
    outlet, client, *_ = lines[0]
    outlet.write_soon(b"answer")
    assert callable(end)
    end(outlet)
    assert await client.read() == b"answer"


async def test_one_who_has_gone_keeps_nobody_from_an_answer(lines: list[Line]) -> None:
    gone, other = lines[0], lines[1]
    gone.outlet.write_soon(b"lost")
    other.outlet.write_soon(b"answer")
    gone.transport.abort()
    assert await other.client.read(99) == b"answer"
    assert gone.outlet.unsent_bytes == 0


def test_an_outbox_keeps_no_loop_alive() -> None:
    loop = asyncio.new_event_loop()
    Outbox.of(loop)
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None
