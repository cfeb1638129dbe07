"""Processes that an example starts: waited for until they serve, ended with all their descendants."""

import contextlib
import http.client
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import psutil

POLL_SECONDS = 0.1
STOP_SECONDS = 45
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
    python: str = sys.executable,
    start_seconds: float = 90,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python <module…>` in a process group of its own while the block lasts, once `ready_url` answers.

    Its output goes to `log`; `environment`, if given, is all of its environment; `python` is the interpreter, ours
    unless another is given. SIGTERM asks it to stop; what is left of it and its descendants after 45 s is killed.

    Raises:
        ChildError: it ended or did not answer within `start_seconds`.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, *module],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
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
    family = _descendants(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_SECONDS)
    for survivor in psutil.wait_procs(family, timeout=1)[1]:
        survivor.kill()
    process.kill()
    process.wait()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
