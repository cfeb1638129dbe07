"""Where Redis is: clusters and sentinels, real ones, of which servers die."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from cacheproxy.counters import open_counters
from cacheproxy.redis_ear import listen
from cacheproxy.redis_link import RedisAway, RedisLink, RedisRefused, Script
from cacheproxy.redis_places import OneServer, Sentinels, StartNodes, places_at
from tests.cacheproxy.conftest import Connect
from tests.fakes.redis_servers import (
    RedisServer,
    Servers,
    cluster_url,
    sentinel_url,
    servers,
    start_cluster,
    until,
)

ADD = Script.of("return redis.call('INCRBY', KEYS[1], ARGV[1])")
NOWHERE = "127.0.0.1:9"


@pytest.fixture
def started() -> Iterator[Servers]:
    """Give servers, which end with the test."""
    with servers() as started:
        yield started


def key_of(node: int, *, of: int = 3) -> bytes:
    """Return a key whose slot is the *node*th master's."""
    return next(key for n in range(10_000) if key_slot(key := b"key%d" % n) * of // 16384 == node)


async def settled(link: RedisLink, key: bytes, *, within_seconds: float = 10) -> bytes:
    """Return what *link* writes and reads under *key*, once it can."""
    async with asyncio.timeout(within_seconds):
        while True:
            try:
                await link.ask(b"SET", key, b"again")
                return bytes(await link.ask(b"GET", key))
            except (RedisAway, RedisRefused):
                await asyncio.sleep(0.02)


def test_urls_are_read() -> None:
    assert places_at("redis://h:1/2") == OneServer("redis://h:1/2")
    assert places_at("redis+cluster://u:p{@a:1,b:2?ssl_cert_reqs=none") == StartNodes(
        ("redis://u:p{@a:1?ssl_cert_reqs=none", "redis://u:p{@b:2?ssl_cert_reqs=none"),
        "redis://u:p{@<place>?ssl_cert_reqs=none",
    )
    assert places_at("rediss+sentinel://:pw@a:1,b:2/main/3?sentinel_password=s&x=1") == Sentinels(
        ("rediss://:s@a:1?x=1", "rediss://:s@b:2?x=1"), "main", "rediss://:pw@<place>/3?x=1"
    )
    for wrong in ("redis+sentinel://a:1", "redis+sentinel:///main", "redis+cluster://"):
        with pytest.raises(ValueError, match="needs"):
            places_at(wrong)


async def test_a_cluster_is_found_by_any_of_its_start_nodes(started: Servers, connect_link: Connect) -> None:
    nodes = start_cluster(started)
    link = await connect_link(cluster_url(nodes[:1]).replace("//", f"//{NOWHERE},", 1))
    for node in range(3):
        assert await link.ask(b"SET", key_of(node), b"%d" % node) == b"OK"
        assert await link.run(ADD, [b"{%b}n" % key_of(node)], node) == node
    for node, server in enumerate(nodes):
        assert server.client.get(key_of(node)) == b"%d" % node
    with await asyncio.to_thread(open_counters, cluster_url(nodes)) as client:
        assert client.get(key_of(2)) == b"2"


async def test_one_dead_node_takes_only_its_own_keys_away(started: Servers, connect_link: Connect) -> None:
    nodes = start_cluster(started)
    link = await connect_link(cluster_url(nodes))
    for node in range(3):
        await link.ask(b"SET", key_of(node), b"%d" % node)
    nodes[0].kill()
    for _ in range(100):
        started_at = time.monotonic()
        with pytest.raises((RedisAway, RedisRefused)):
            await link.ask(b"GET", key_of(0))
        assert time.monotonic() - started_at < 0.2, "nobody waits for a dead node"
        assert await link.ask(b"GET", key_of(1)) == b"1"
        assert await link.ask(b"GET", key_of(2)) == b"2"
        await asyncio.sleep(0.01)


async def test_a_replica_takes_over(started: Servers, connect_link: Connect) -> None:
    nodes = start_cluster(started, replicas=1)
    link = await connect_link(cluster_url(nodes))
    await link.ask(b"SET", key_of(0), b"before")
    nodes[0].kill()
    assert await settled(link, key_of(0)) == b"again"
    assert nodes[3].client.get(key_of(0)) == b"again"


async def test_slots_that_move_are_followed(started: Servers, connect_link: Connect) -> None:
    nodes = start_cluster(started)
    link = await connect_link(cluster_url(nodes))
    key, slot = key_of(0), key_slot(key_of(0))
    await link.ask(b"SET", key, b"here")
    old, new = (node.client.execute_command("CLUSTER MYID").decode() for node in nodes[:2])
    nodes[1].client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old)
    nodes[0].client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new)
    nodes[0].client.execute_command("MIGRATE", "127.0.0.1", nodes[1].port, key, 0, 1000)
    assert await asyncio.gather(*(link.ask(b"GET", key) for _ in range(5))) == [b"here"] * 5
    for node in nodes[1::-1]:
        node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", new)
    assert await asyncio.gather(*(link.ask(b"GET", key) for _ in range(5))) == [b"here"] * 5
    await asyncio.sleep(0.5)
    before = nodes[0].client.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]
    assert await link.ask(b"GET", key) == b"here"
    after = nodes[0].client.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]
    assert after == before, "the new layout is known by now"


async def test_the_ear_finds_another_node(started: Servers, connect_link: Connect) -> None:
    """It hears what is published at any node, and moves on when its own dies or only goes silent."""
    nodes = start_cluster(started)
    link = await connect_link(cluster_url(nodes), budget_seconds=0.02)
    heard: list[bytes] = []
    ear = asyncio.create_task(listen(places_at(cluster_url(nodes)), b"channel", heard.append))
    await hears(link, heard, b"one")
    nodes[0].process.send_signal(19)  # stopped: it is there, and says nothing
    await hears(link, heard, b"two")
    nodes[1].kill()
    nodes[0].process.send_signal(18)
    await hears(link, heard, b"three")
    ear.cancel()
    await asyncio.wait({ear})


async def hears(link: RedisLink, heard: list[bytes], text: bytes) -> None:
    """Return once the ear has heard *text*, which is said again and again."""
    async with asyncio.timeout(10):
        while text not in heard:
            await asyncio.gather(link.ask(b"PUBLISH", b"channel", text), return_exceptions=True)
            await asyncio.sleep(0.05)


def start_service(started: Servers) -> tuple[RedisServer, RedisServer, list[RedisServer]]:
    """Start a master, its replica, and three sentinels that know of both and of each other."""
    master = started.start()
    replica = started.start("--replicaof", "127.0.0.1", str(master.port))
    sentinels = [started.start_sentinel(master, quorum=2) for _ in range(3)]
    for sentinel in sentinels:
        until(
            lambda sentinel=sentinel: (  # type: ignore[misc]
                (known := sentinel.client.sentinel_masters()["zerorate"])["num-slaves"] == 1
                and known["num-other-sentinels"] == 2
            )
        )
    return master, replica, sentinels


async def test_sentinels_say_where_the_master_is(started: Servers, connect_link: Connect) -> None:
    master, replica, sentinels = start_service(started)
    url = sentinel_url(sentinels)
    link = await connect_link(url.replace("//", f"//{NOWHERE},", 1))
    heard: list[bytes] = []
    ear = asyncio.create_task(listen(places_at(url), b"channel", heard.append))
    assert await link.ask(b"SET", b"k", b"before") == b"OK"
    until(lambda: replica.client.get("k") == b"before")
    sentinels[0].kill()
    master.kill()
    assert await settled(link, b"k", within_seconds=20) == b"again"
    assert replica.client.get("k") == b"again"
    await hears(link, heard, b"hello")
    with await asyncio.to_thread(open_counters, url) as client:
        assert client.get("k") == b"again"
    ear.cancel()
    await asyncio.wait({ear})


async def test_a_master_that_becomes_a_replica_is_left(started: Servers, connect_link: Connect) -> None:
    """Its connection stays whole: only what it refuses tells."""
    master, replica, sentinels = start_service(started)
    link = await connect_link(sentinel_url(sentinels))
    assert await link.ask(b"SET", b"k", b"before") == b"OK"
    sentinels[1].client.execute_command("SENTINEL FAILOVER", "zerorate")
    until(lambda: replica.client.info("replication")["role"] == "master")
    master.client.replicaof("127.0.0.1", replica.port)  # as the sentinels would, some seconds later
    assert await settled(link, b"k") == b"again"
    assert replica.client.get("k") == b"again"
