"""The embedded servers: shared, stopped by the last one out, and back after `kill -9`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from config.embedded import LONGEST_SOCKET_PATH, EmbeddedServers

HOLD = """
import sys
from pathlib import Path
from config.embedded import EmbeddedServers
servers = EmbeddedServers(Path(sys.argv[1]))
servers.start()
print("started", flush=True)
sys.stdin.readline()
servers.release()
"""


@pytest.fixture
def home(own_folder: Path) -> Iterator[Path]:
    yield own_folder / "home"
    for process in servers_of(own_folder):
        process.kill()


def servers_of(home: Path) -> list[psutil.Process]:
    """Return the server processes whose files are under *home*, postmaster first."""
    found = []
    for process in psutil.process_iter(["name", "cmdline", "cwd"]):
        told = " ".join(process.info["cmdline"] or []) + (process.info["cwd"] or "")
        if str(home) in told and process.info["name"] in {"postgres", "redis-server"}:
            found.append(process)
    return sorted(found, key=lambda process: process.pid)


def works(environment: dict[str, str]) -> bool:
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        (version,) = connection.execute("SHOW server_version_num").fetchone() or ("0",)
    client = redis.Redis.from_url(environment["REDIS_URL"])
    try:
        return int(version) >= 180000 and bool(client.ping())
    finally:
        client.close()


def hold(home: Path) -> "subprocess.Popen[str]":
    """Start another process that holds the servers until a line is written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def let_go(process: "subprocess.Popen[str]") -> None:
    process.communicate("\n", timeout=30)


def test_two_processes_share_them_and_the_last_one_stops_them(home: Path) -> None:
    servers = EmbeddedServers(home)
    environment = servers.start()
    other = hold(home)
    servers.release()
    assert works(environment)
    let_go(other)
    assert servers_of(home) == []


def test_a_holder_killed_with_9_is_forgotten(home: Path) -> None:
    other = hold(home)
    other.kill()
    other.communicate()
    servers = EmbeddedServers(home)
    assert works(servers.start())
    servers.release()
    assert servers_of(home) == []


def test_they_come_back_with_their_data_after_kill_9(home: Path) -> None:
    servers = EmbeddedServers(home)
    environment = servers.start()
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE kept (what text)")
        connection.execute("INSERT INTO kept VALUES ('row')")
    client = redis.Redis.from_url(environment["REDIS_URL"])
    client.xadd("spool", {"event": "kept"})
    client.close()
    for process in servers_of(home):
        if process.is_running():
            os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(servers_of(home), timeout=5)

    again = EmbeddedServers(home)
    environment = again.start()
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT what FROM kept").fetchall() == [("row",)]
    client = redis.Redis.from_url(environment["REDIS_URL"], decode_responses=True)
    assert client.xlen("spool") == 1
    client.close()
    servers.release()
    again.release()
    assert servers_of(home) == []


def test_a_home_too_deep_for_a_socket_still_works(home: Path) -> None:
    deep = home / ("a" * 50) / ("b" * 50)
    assert len(str(deep)) > LONGEST_SOCKET_PATH
    servers = EmbeddedServers(deep)
    assert works(servers.start())
    servers.release()
    servers.release()


def test_only_what_is_asked_for_is_started(home: Path) -> None:
    servers = EmbeddedServers(home, with_postgres=False)
    assert set(servers.start()) == {"REDIS_URL"}
    servers.release()
    assert not (home / "postgres").exists()
