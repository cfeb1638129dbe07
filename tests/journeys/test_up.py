"""`manage.py up`: the whole stack in the foreground, and what happens when it is ended, gently or not."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from examples.child import free_port

ROOT = Path(__file__).parent.parent.parent
NAMED_ELSEWHERE = ("DATABASE_URL", "REDIS_URL", "ZERORATE_EMBEDDED", "DATABASE_ROLE", "ZERORATE_HOME")
START_SECONDS = 90
STOP_SECONDS = 45

pytestmark = pytest.mark.journey


class Stack:
    """A stack of its own under a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.log = home.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in NAMED_ELSEWHERE}
        return kept | {"ZERORATE_HOME": str(self.home)} | more

    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "up", "--no-demo-data", "--port", str(self.port)]

    def start(self) -> None:
        announced = self.announcements()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=ROOT, env=self.environment(), stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        while self.announcements() == announced:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def announcements(self) -> int:
        return self.log.read_text().count("Zerorate serves on") if self.log.exists() else 0

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0

    def end(self, signal_number: int) -> int:
        assert self.process is not None
        self.process.send_signal(signal_number)
        return self.process.wait(STOP_SECONDS)

    def alive(self) -> list[psutil.Process]:
        """Return every process of this stack, servers included, but for those that are only being reaped."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                told = (
                    " ".join(process.cmdline()) + process.cwd() + process.environ().get("ZERORATE_HOME", "")
                )
                if str(self.home) in told and process.pid != os.getpid():
                    found.append(process)
        return found


@pytest.fixture
def stack(own_folder: Path) -> Iterator[Stack]:
    made = Stack(own_folder / "home")
    yield made
    for process in made.alive():
        with contextlib.suppress(psutil.Error):
            process.kill()


def test_it_serves_both_planes_and_ctrl_c_ends_every_child(stack: Stack) -> None:
    stack.start()
    assert [stack.get(path) for path in ("/readyz", "/admin/login/", "/v1/models")] == [200, 200, 401]
    again = subprocess.run(
        stack.command(),
        cwd=ROOT,
        env=stack.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert again.returncode == 1
    assert "Zerorate is up already" in again.stderr

    assert stack.end(signal.SIGINT) == 0, stack.log.read_text()
    assert stack.alive() == []
    told = stack.log.read_text()
    assert f"Admin     http://127.0.0.1:{stack.port}/admin/" in told
    assert "Traceback" not in told


def test_after_kill_9_the_next_start_takes_over(stack: Stack) -> None:
    stack.start()
    assert stack.end(signal.SIGKILL) == -signal.SIGKILL
    assert stack.alive() != []
    stack.start()
    assert stack.get("/v1/models") == 401
    assert stack.end(signal.SIGTERM) == 0, stack.log.read_text()
    assert stack.alive() == []


@pytest.mark.parametrize(
    ("name", "url", "message"),
    [
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/zerorate", "PostgreSQL cannot be reached: "),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "Redis cannot be reached: "),
    ],
)
def test_a_server_that_cannot_be_reached_is_named(stack: Stack, name: str, url: str, message: str) -> None:
    environment = stack.environment(**{name: url, "SECRET_KEY": "s", "KEY_PEPPER": "p", "ALLOWED_HOSTS": "*"})
    run = subprocess.run(
        stack.command(), cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=90
    )
    assert run.returncode == 1
    assert message in run.stderr
    assert f"or unset {name}" in run.stderr
    assert "Traceback" not in run.stderr
    assert stack.alive() == []
