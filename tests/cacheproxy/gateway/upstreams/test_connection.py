"""One connection without a network: every way to cut an answer up, and what must end the connection."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.gateway.upstreams.connection import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_UNREAD_BYTES,
    PART_BYTES,
    Connection,
    Failure,
    Garbled,
    Late,
    Lost,
    TooLarge,
)

CALL = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"content-type: application/json\r\n"
SIZED = OK + JSON + b"content-length: 5\r\n\r\nhello"
CHUNKED = (
    OK
    + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nx-checksum: 1\r\nretry-after: 9\r\n\r\n"
)


class Wire(asyncio.Transport):
    """A transport that takes notes, and writes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.room_parts = 1 << 30
        self.unsent_bytes = 0
        self.closed = False
        self.reading = True
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))
        self.room_parts -= 1
        if self.room_parts == 0:
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


def connect(max_body_bytes: int = 1 << 20) -> tuple[Connection, Wire]:
    wire = Wire()
    wire.protocol = connection = Connection(asyncio.get_running_loop(), max_body_bytes, set())
    connection.connection_made(wire)
    return connection, wire


def send(connection: Connection, body: bytes = b"{}", **changes: Any) -> None:
    give_up_at = asyncio.get_running_loop().time() + changes.pop("seconds", 9.0)
    values: dict[str, Any] = {"first_byte_seconds": 5.0, "idle_seconds": 5.0, "bodyless": False}
    values["give_up_at"] = give_up_at
    connection.send(CALL, body, **values | changes)


async def test_a_call_leaves_in_one_write_and_the_next_one_follows_its_answer() -> None:
    connection, wire = connect()
    for _ in range(3):
        send(connection)
        connection.data_received(SIZED)
        await connection.head()
        assert (connection.status, connection.headers) == (200, [(b"content-type", b"application/json")])
        assert await connection.part() == b"hello"
        assert await connection.part() == b""
        assert connection.usable
        connection.go_idle(0.0)
    assert wire.written == [CALL + b"{}"] * 3


EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\ncontent-type: no\r\n\r\n"
WHOLE = [
    (SIZED, 200, b"hello"),
    (CHUNKED, 200, b"hello"),
    (EARLY + SIZED, 200, b"hello"),
    (EARLY + CHUNKED, 200, b"hello"),
    (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", 204, b""),
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    (b"HTTP/1.1 500\r\ncontent-length: 0\r\n\r\n", 500, b""),
    (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello", 200, b"hello"),
]


@given(st.sampled_from(WHOLE), st.lists(st.integers(1, 200)), st.booleans())
async def test_an_answer_is_the_same_wherever_it_is_cut(
    answer: tuple[bytes, int, bytes], cuts: list[int], at_every_byte: bool
) -> None:
    raw, status, body = answer
    connection, _ = connect()
    send(connection)
    places = (
        range(len(raw) + 1) if at_every_byte else sorted({0, len(raw), *(cut % len(raw) for cut in cuts)})
    )
    for start, end in pairwise(places):
        assert not connection.whole
        connection.data_received(raw[start:end])
    await connection.head()
    assert connection.status == status
    assert {name for name, _ in connection.headers} <= {b"content-type"}
    assert await connection.rest() == body
    assert connection.usable


@pytest.mark.parametrize(
    ("raw", "bodyless"),
    [
        (OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", False),
        (OK + b"content-length: 5\r\n\r\n", True),
    ],
)
async def test_after_some_answers_the_connection_is_not_used_again(raw: bytes, bodyless: bool) -> None:
    connection, _ = connect()
    send(connection, bodyless=bodyless)
    connection.data_received(raw)
    assert await connection.rest() == (b"" if bodyless else b"hello")
    assert not connection.usable


async def test_an_answer_without_length_ends_with_the_connection() -> None:
    connection, _ = connect()
    send(connection)
    connection.data_received(OK + JSON + b"\r\nhel")
    connection.data_received(b"lo")
    assert await connection.part() == b"hello"
    connection.connection_lost(None)
    assert await connection.part() == b""
    assert not connection.usable or connection.whole


async def test_a_reset_is_no_end_of_such_an_answer() -> None:
    connection, _ = connect()
    send(connection)
    connection.data_received(OK + JSON + b"\r\nhello")
    connection.connection_lost(ConnectionResetError("reset by peer"))
    assert await connection.part() == b"hello"
    with pytest.raises(Lost, match="reset by peer"):
        await connection.part()


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"content-length: +5\r\n\r\nhello",
        OK + b"content-length: 5\r\n folded: x\r\n\r\nhello",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        OK + b"x: y\r\n" * (MAX_HEADERS + 1) + b"content-length: 0\r\n\r\n",
        OK + b"x: " + b"y" * MAX_HEAD_BYTES + b"\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"x: " + b"y" * (MAX_HEAD_BYTES + 1),
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 3000,
        OK + b"transfer-encoding: chunked\r\n\r\n5;" + b"x" * (MAX_HEAD_BYTES + 1),
    ],
)
async def test_what_is_not_one_answer_is_none(raw: bytes) -> None:
    connection, wire = connect()
    send(connection)
    connection.data_received(raw)
    with pytest.raises(Garbled):
        await connection.rest()
    assert wire.closed
    assert not connection.usable


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (SIZED + SIZED, b"hello"),
        (SIZED + b"{}", b"hello"),
        (CHUNKED + b"HTTP/1.1 2", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\nbody", b""),
        (OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello!", b"hello"),
    ],
)
async def test_what_follows_an_answer_is_nobodys(raw: bytes, body: bytes) -> None:
    connection, wire = connect()
    send(connection)
    connection.data_received(raw)
    assert (await connection.rest(), wire.closed, connection.usable) == (body, True, False)


async def test_trailers_without_end_are_cut_off() -> None:
    connection, wire = connect()
    send(connection)
    connection.data_received(OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    for _ in range(MAX_HEAD_BYTES // 1024 + 2):
        if not wire.closed:
            connection.data_received(b"x: " + b"y" * 1024 + b"\r\n")
    with pytest.raises(Garbled):
        await connection.rest()


async def test_bytes_to_nobody_end_the_connection() -> None:
    connection, wire = connect()
    send(connection)
    connection.data_received(SIZED)
    connection.data_received(SIZED)
    assert await connection.rest() == b"hello", "they came later, and are not this answer's"
    assert wire.closed
    idle, wire = connect()
    idle.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert wire.closed
    assert not idle.usable


async def test_a_body_is_bounded() -> None:
    connection, wire = connect(max_body_bytes=4)
    send(connection)
    connection.data_received(CHUNKED)
    assert await connection.part() == b"he"
    with pytest.raises(TooLarge):
        await connection.part()
    assert wire.closed


async def test_a_server_faster_than_the_reader_has_to_wait() -> None:
    connection, wire = connect(max_body_bytes=1 << 24)
    send(connection, idle_seconds=0.05)
    connection.data_received(OK + b"content-length: 600000\r\n\r\n" + b"x" * MAX_UNREAD_BYTES)
    assert not connection.reading_paused
    connection.data_received(b"x")
    assert (connection.reading_paused, wire.reading) == (True, False)
    await asyncio.sleep(0.1)  # the reader's own time
    assert len(await connection.part()) == MAX_UNREAD_BYTES + 1
    assert (connection.reading_paused, wire.reading) == (False, True)
    with pytest.raises(Late) as late:
        await connection.part()
    assert late.value.limit == "idle"


async def test_who_waits_for_the_whole_is_not_a_slow_reader_and_is_woken_once() -> None:
    connection, wire = connect(max_body_bytes=1 << 24)
    send(connection)
    whole = asyncio.ensure_future(connection.rest())
    await asyncio.sleep(0)
    connection.data_received(OK + b"content-length: 600000\r\n\r\n" + b"x" * 500_000)
    await asyncio.sleep(0)
    assert wire.reading
    assert not whole.done()
    connection.data_received(b"x" * 100_000)
    assert len(await whole) == 600_000


async def test_the_head_has_its_time_whatever_trickles_in() -> None:
    connection, wire = connect()
    send(connection, first_byte_seconds=0.1)
    for byte in SIZED[:4]:
        connection.data_received(bytes([byte]))
        await asyncio.sleep(0.02)
    with pytest.raises(Late) as late:
        await connection.head()
    assert late.value.limit == "first_byte"
    assert wire.closed


@pytest.mark.parametrize("came", [b"", SIZED[:-1], OK + b"content-length: 600000\r\n\r\n" + b"x" * 500_000])
async def test_a_call_has_its_time_whoever_is_slow(came: bytes) -> None:
    connection, wire = connect()
    send(connection, seconds=0.1)
    connection.data_received(came)
    await asyncio.sleep(0.15)
    assert wire.closed
    with pytest.raises(Late) as late:
        await connection.rest()
    assert late.value.limit == "total"


async def test_one_timer_serves_calls_of_any_patience() -> None:
    connection, _ = connect()
    send(connection, first_byte_seconds=0.05)
    connection.data_received(SIZED)
    connection.go_idle(0.0)
    send(connection, first_byte_seconds=0.3)
    await asyncio.sleep(0.15)
    connection.data_received(SIZED)
    assert await connection.rest() == b"hello"
    connection.go_idle(0.0)
    send(connection, first_byte_seconds=0.05)
    with pytest.raises(Late):
        await connection.head()


async def test_a_large_body_is_handed_over_as_the_transport_takes_it() -> None:
    connection, wire = connect()
    wire.room_parts = 3
    send(connection, b"x" * (5 * PART_BYTES))
    assert list(map(len, wire.written)) == [len(CALL), PART_BYTES, PART_BYTES]
    wire.room_parts = 1 << 30
    connection.resume_writing()
    assert list(map(len, wire.written[3:])) == [PART_BYTES] * 3


@pytest.mark.parametrize("unsent_bytes", [0, 1])
async def test_an_answer_that_overtakes_its_call_is_read_and_the_last_on_its_connection(
    unsent_bytes: int,
) -> None:
    connection, wire = connect()
    wire.room_parts = 2 - unsent_bytes
    send(connection, b"x" * (5 * PART_BYTES))
    wire.unsent_bytes = unsent_bytes
    connection.data_received(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nhello")
    assert await connection.rest() == b"hello"
    assert not connection.usable


@pytest.mark.parametrize("wait", [Connection.head, Connection.part, Connection.rest])
async def test_what_is_given_up_while_waiting_leaves_nothing_behind(
    wait: Callable[[Connection], Any],
) -> None:
    before = asyncio.all_tasks()
    connection, wire = connect()
    send(connection)
    waiting = asyncio.ensure_future(wait(connection))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    connection.abort()
    await connection.lost.wait()
    assert wire.closed
    assert asyncio.all_tasks() == before
    with pytest.raises(Failure):
        await connection.head()
