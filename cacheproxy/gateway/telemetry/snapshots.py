"""What the gateway processes of one machine have counted, in a folder that each of them can read.

A scrape reaches any one of the processes behind a port and must speak for all. So each keeps its own numbers in
a file, replaced whole every second and before it answers a scrape itself: nobody is ever told less than before.
Beside the file lies a lock that its process holds for as long as it lives, however it ends. What a process
counted outlives it: whoever scrapes next adds the counters of the dead to the file of the departed, each once,
even if that process dies in the middle.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from cacheproxy.gateway.telemetry.metrics import FAMILIES, Labels, Snapshot, Value

DEPARTED = "departed"
SHAPE = sha256(repr(FAMILIES).encode()).hexdigest()[:12]
"""Other metrics have another folder: what another version of this program counted cannot be added up with ours."""


class Departed(msgspec.Struct):
    """The counters of dead processes, and the names of those whose own files may still lie there."""

    snapshot: Snapshot
    names: list[str]


Content = TypeVar("Content", Snapshot, Departed)


class SnapshotFolder:
    """This process's place among the others. Everything here reads or writes files: keep it off the event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / SHAPE
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()

    def write(self, snapshot: Snapshot) -> None:
        """Replace what this process has said before."""
        self._replace(self._name, snapshot)

    def read(self) -> list[Snapshot]:
        """Return the snapshots of all processes that live, and one of all that are dead."""
        with self._turn():
            living, dead = self._others()
            departed = self._bury(dead)
        return [*living, departed.snapshot]

    def close(self) -> None:
        """Leave: what was written last counts as a dead process's from now on."""
        self._lock.close()

    def _take_lock(self) -> IO[bytes]:
        """Hold the lock before it has its name, so that nobody can take this process for dead."""
        unnamed = self._folder / f"{self._name}.new"
        lock = unnamed.open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(self._folder / f"{self._name}.lock")
        return lock

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with (self._folder / "turn").open("wb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield

    def _others(self) -> tuple[list[Snapshot], dict[str, Snapshot | None]]:
        """Return the snapshots of those that live, this process among them, and name → snapshot of the dead."""
        living, dead = [], {}
        for path in sorted(self._folder.glob("*.lock")):
            snapshot = self._load(path.stem, Snapshot)
            if path.stem != self._name and _is_free(path):
                dead[path.stem] = self._load(
                    path.stem, Snapshot
                )  # again: it may have written more before it died
            elif snapshot is not None:
                living.append(snapshot)
        return living, dead

    def _bury(self, dead: dict[str, Snapshot | None]) -> Departed:
        departed = self._load(DEPARTED, Departed) or Departed(Snapshot(0, {}), [])
        if not dead:
            return departed
        fresh = [snapshot for name, snapshot in dead.items() if snapshot and name not in departed.names]
        departed = Departed(add_up([departed.snapshot, *fresh], gauges=False), list(dead))
        self._replace(DEPARTED, departed)
        for name in dead:
            (self._folder / f"{name}.json").unlink(missing_ok=True)
            (self._folder / f"{name}.lock").unlink(missing_ok=True)
        return departed

    def _load(self, name: str, kind: type[Content]) -> Content | None:
        try:
            return msgspec.json.decode((self._folder / f"{name}.json").read_bytes(), type=kind)
        except (FileNotFoundError, msgspec.DecodeError):  # not written yet, or emptied by a loss of power
            return None

    def _replace(self, name: str, content: Snapshot | Departed) -> None:
        written = self._folder / f"{name}.written"
        written.write_bytes(msgspec.json.encode(content))
        written.replace(self._folder / f"{name}.json")


def add_up(snapshots: list[Snapshot], *, gauges: bool = True) -> Snapshot:
    """Return one snapshot for all: counters and histograms added, gauges side by side with their process's id."""
    families: dict[str, dict[Labels, Value]] = {}
    for snapshot in snapshots:
        for name, series in snapshot.families.items():
            family = FAMILIES[name]
            sums = families.setdefault(name, {})
            for labels, value in series:
                if family.kind != "gauge":
                    sums[labels] = _sum(sums.get(labels), value)
                elif gauges:
                    sums[*labels, str(snapshot.pid)] = value
    return Snapshot(0, {name: list(sums.items()) for name, sums in families.items()})


def _sum(known: Value | None, value: Value) -> Value:
    if known is None:
        return value
    if isinstance(known, list) and isinstance(value, list):
        return [one + other for one, other in zip(known, value, strict=True)]
    assert isinstance(known, int)
    assert isinstance(value, int)
    return known + value


def _is_free(path: Path) -> bool:
    """Return whether nobody holds the lock at *path*: its process is dead."""
    with path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
