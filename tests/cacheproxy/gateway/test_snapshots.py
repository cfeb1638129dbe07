"""Numbers of several processes in one folder: added up, kept beyond their processes' deaths, each once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproxy.gateway.telemetry.metrics import Metrics, Snapshot
from cacheproxy.gateway.telemetry.snapshots import DEPARTED, SHAPE, SnapshotFolder, add_up

WRITER = """
import sys, time
from pathlib import Path
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.telemetry.snapshots import SnapshotFolder
metrics = Metrics()
for _ in range(int(sys.argv[2])):
    metrics.client_hung_up()
metrics.open_streams = 9
folder = SnapshotFolder(Path(sys.argv[1]))
folder.write(metrics.snapshot(1))
print("written", flush=True)
time.sleep(60)
"""


def writer(folder: Path, count: int) -> subprocess.Popen[bytes]:
    """Start a process that has counted, written, and lives on."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(count)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.send_signal(signal.SIGKILL)


def disconnects(snapshots: list[Snapshot]) -> int:
    (_, value), *_rest = add_up(snapshots).families.get("client_disconnects", [((), 0)])
    assert isinstance(value, int)
    return value


def streams(snapshots: list[Snapshot]) -> int:
    return len(add_up(snapshots).families.get("open_streams", []))


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[SnapshotFolder]:
    folder = SnapshotFolder(tmp_path)
    yield folder
    folder.close()


def test_what_a_killed_process_counted_stays(tmp_path: Path, mine: SnapshotFolder) -> None:
    first, second = writer(tmp_path, 3), writer(tmp_path, 4)
    assert disconnects(mine.read()) == 7
    kill(first)
    for _ in range(3):
        assert disconnects(mine.read()) == 7
    kill(second)
    assert disconnects(mine.read()) == 7
    left = {path.name.split(".")[0].split("-")[0] for path in (tmp_path / SHAPE).iterdir()}
    assert left == {str(os.getpid()), "departed", "turn"}


def test_the_gauges_of_the_dead_are_gone(tmp_path: Path, mine: SnapshotFolder) -> None:
    process = writer(tmp_path, 1)
    assert streams(mine.read()) == 1
    kill(process)
    assert streams(mine.read()) == 0


def test_a_scraper_killed_between_adding_and_clearing_counts_nobody_twice(
    tmp_path: Path, mine: SnapshotFolder
) -> None:
    kill(writer(tmp_path, 5))
    folder = tmp_path / SHAPE
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".json", ".lock"}}
    assert disconnects(mine.read()) == 5
    for name in kept.keys() - {path.name for path in folder.iterdir()}:
        (folder / name).write_bytes(kept[name])  # as if it had been killed after `departed` was replaced
    kill(writer(tmp_path, 2))
    assert disconnects(mine.read()) == 7
    assert disconnects(mine.read()) == 7


def test_a_file_that_lost_its_content_is_passed_over(tmp_path: Path, mine: SnapshotFolder) -> None:
    kill(writer(tmp_path, 5))
    mine.read()
    (tmp_path / SHAPE / f"{DEPARTED}.json").write_bytes(b"")
    metrics = Metrics()
    metrics.client_hung_up()
    mine.write(metrics.snapshot(2))
    assert disconnects(mine.read()) == 1


def test_a_live_process_is_never_taken_for_dead(tmp_path: Path, mine: SnapshotFolder) -> None:
    other = SnapshotFolder(tmp_path)
    metrics = Metrics()
    metrics.open_streams = 1
    other.write(metrics.snapshot(3))
    assert streams(mine.read()) == 1
    other.close()
    assert streams(mine.read()) == 0
