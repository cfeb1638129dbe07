"""Run the whole stack in the foreground."""

import fcntl
import os
import secrets
import shlex
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

import honcho.manager
import psutil
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from redis import RedisError

from cacheproxy.counters import open_counters
from tenants.models import User

MARK = "ZERORATE_UP_HOME"
"""Names the home in the environment of every process that `up` starts, to find those a `kill -9` left."""
DRAIN_SECONDS = 35
READY_SECONDS = 60


class Command(BaseCommand):
    """Run web and gateway on one port, a Celery worker and beat; Ctrl-C ends them all."""

    help = "Run the whole stack in the foreground: web and gateway on one port, a Celery worker and beat."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--gateway-workers", type=int, default=1, metavar="N")
        parser.add_argument(
            "--no-demo-data", action="store_true", help="start empty, without the example upstream"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Prepare, run and wait."""
        port: int = options["port"]
        held = _take_home(settings.HOME)
        _end_leftovers(settings.HOME)
        _require_servers()
        call_command("migrate", verbosity=0, interactive=False)
        password = _ensure_admin(settings.HOME)
        processes = _commands(port, options["gateway_workers"])
        if not options["no_demo_data"]:
            from examples.demo_data import prepare

            processes |= prepare(settings.HOME)
        connection.close()
        threading.Thread(
            target=self._announce, args=(port, password, not options["no_demo_data"]), daemon=True
        ).start()
        code = _run(processes)
        held.close()
        sys.exit(code)

    def _announce(self, port: int, password: str, with_demo_data: bool) -> None:
        """Say where everything is once it serves."""
        base = f"http://127.0.0.1:{port}"
        if not _wait_until_ready(f"{base}/readyz"):
            self.stderr.write(f"{base} is not ready after {READY_SECONDS} s; see the lines above.")
            return
        self.stdout.write(
            f"\n  Zerorate serves on {base}\n"
            f"  Gateway   {base}/v1        (base URL for OpenAI clients)\n"
            f"  Admin     {base}/admin/    user admin, password {password}\n"
            f"  API docs  {base}/api/v1/docs\n"
            "  Ctrl-C stops all of it.\n"
        )
        if with_demo_data:
            environment = os.environ | {MARK: str(settings.HOME)}
            subprocess.Popen([sys.executable, "-m", "examples.demo_data", "--url", base], env=environment)


def _take_home(home: Path) -> IO[str]:
    """Hold the home for this process; POSIX locks are not inherited by children."""
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / "up.lock").open("w")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CommandError(
            f"Zerorate is up already on {home}: stop it first, or set ZERORATE_HOME to another folder."
        ) from error
    return lock


def _end_leftovers(home: Path) -> None:
    """End the processes that an `up` on this home left behind when it was killed."""
    leftovers = [process for process in psutil.process_iter() if _is_leftover(process, str(home))]
    for process in leftovers:
        process.terminate()
    for process in psutil.wait_procs(leftovers, timeout=5)[1]:
        process.kill()


def _is_leftover(process: psutil.Process, home: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == home
    except psutil.Error:
        return False


def _require_servers() -> None:
    try:  # not through Django, which assumes a role that the first migration makes
        psycopg.connect(settings.DATABASE_URL).close()
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise CommandError(
            f"PostgreSQL cannot be reached: {reason}\nStart it, or unset DATABASE_URL."
        ) from error
    try:
        with open_counters(settings.REDIS_URL) as client:
            client.ping()
    except RedisError as error:
        raise CommandError(f"Redis cannot be reached: {error}\nStart it, or unset REDIS_URL.") from error


def _ensure_admin(home: Path) -> str:
    """Return the password of the user ``admin``, made at the first start and kept in the home."""
    kept = home / "admin-password"
    if not kept.exists():
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(9))
    password = kept.read_text()
    if not User.objects.filter(username="admin").exists():
        User.objects.create_superuser("admin", password=password)
    return password


def _commands(port: int, workers: int) -> dict[str, list[str]]:
    python = [sys.executable, "-m"]
    # It warns of running as root, which inside a container is the rule.
    quiet = "ignore:You're running the worker with superuser privileges"
    celery = [sys.executable, "-W", quiet, "-m", "celery", "--quiet", "-A", "config"]
    schedule = str(settings.HOME / "celerybeat-schedule")
    return {
        "web": [
            *python, "uvicorn", "config.asgi:application", "--host", "127.0.0.1", "--port", str(port),
            "--workers", str(workers), "--loop", "uvloop", "--http", "config.http:Http", "--no-access-log",
            "--no-proxy-headers", "--no-server-header", "--timeout-graceful-shutdown", "30", "--log-level", "warning",
        ],
        "worker": [
            *celery, "worker", "--concurrency", "2", "--loglevel", "WARNING",
            "--without-gossip", "--without-mingle",
        ],
        "beat": [*celery, "beat", "--loglevel", "WARNING", "--schedule", schedule],
    }  # fmt: skip


def _run(processes: dict[str, list[str]]) -> int:
    """Run the processes until one ends or a signal comes; then end them all."""
    honcho.manager.KILL_WAIT = DRAIN_SECONDS
    manager = honcho.manager.Manager()
    environment = os.environ | {
        MARK: str(settings.HOME),
        "SECRET_KEY": settings.SECRET_KEY,
        "KEY_PEPPER": settings.KEY_PEPPER,
        "METRICS_DIR": str(settings.HOME / "metrics"),
    }
    for name, command in processes.items():
        manager.add_process(name, f"exec {shlex.join(command)}", env=environment, cwd=str(settings.ROOT))
    manager.loop()
    stopped_by_hand = manager.returncode in (130, 143)
    return 0 if stopped_by_hand else int(manager.returncode or 0)


def _wait_until_ready(url: str) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own loopback address
                return True
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    return False
