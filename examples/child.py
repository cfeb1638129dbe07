"""Processes that an example starts: waited for until they serve, ended with all their descendants."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

POLL_SECONDS = 0.1
STOP_SECONDS = 30
LAST_LINES = 15


class ChildError(RuntimeError):
    """A child process ended or stayed silent before it served; the message has the end of its log."""


def free_port(preferred: int = 0) -> int:
    """Return a loopback port that nobody listens on at the moment: the preferred one, or any."""
    try:
        with socket.create_server(("127.0.0.1", preferred)) as listener:
            return int(listener.getsockname()[1])
    except OSError:
        return free_port()


def answers(url: str) -> bool:
    """Return whether a GET of the URL is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == HTTPStatus.OK)
    except (OSError, http.client.HTTPException):
        return False


@contextlib.contextmanager
def running(
    module: Sequence[str],
    *,
    ready_url: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    start_seconds: float = 90,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python <module…>` in a process group of its own while the block lasts, once `ready_url` answers.

    Its output goes to `log`. SIGTERM asks it to stop; its group is killed if that takes longer than 30 s.

    Raises:
        ChildError: it ended or did not answer within `start_seconds`.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *module],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, ready_url, log, time.monotonic() + start_seconds)
        yield process
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path, deadline: float) -> None:
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ChildError(f"{process.args!r} does not serve {url}:\n{_end_of(log)}")
        time.sleep(POLL_SECONDS)


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
