import contextlib
from pathlib import Path

import psutil
import pytest

from examples import child


def test_a_child_that_dies_at_the_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = ["-c", "raise SystemExit('no such model')"]
    with (
        pytest.raises(child.ChildError, match="no such model"),
        child.running(command, ready_url="http://127.0.0.1:1/", log=tmp_path / "log"),
    ):
        pass


def test_a_child_that_never_serves_is_given_up_and_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = ["-c", f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"]
    with (
        pytest.raises(child.ChildError),
        child.running(command, ready_url="http://127.0.0.1:1/", log=tmp_path / "log", start_seconds=2),
    ):
        pass
    assert not psutil.pid_exists(int(pid_file.read_text()))


@pytest.mark.parametrize("name", ["ocr_server", "chat_server"])
def test_an_upstream_stopped_by_sigterm_leaves_no_process(name: str, tmp_path: Path) -> None:
    port = child.free_port()
    command = ["-m", f"examples.upstreams.{name}", "--port", str(port)]
    with child.running(command, ready_url=f"http://127.0.0.1:{port}/health", log=tmp_path / "log") as process:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(timeout=20) == 0
        _gone, alive = psutil.wait_procs(family, timeout=5)
        assert [survivor for survivor in alive if survivor.status() != psutil.STATUS_ZOMBIE] == []
    assert f"ready on http://127.0.0.1:{port}" in (tmp_path / "log").read_text()


def test_an_upstream_stopped_while_it_starts_leaves_no_process(tmp_path: Path) -> None:
    port = child.free_port()
    command = ["-m", "examples.upstreams.ocr_server", "--port", str(port)]
    with (
        contextlib.suppress(child.ChildError),
        child.running(
            command, ready_url=f"http://127.0.0.1:{port}/health", log=tmp_path / "log", start_seconds=2.5
        ),
    ):
        pass
    assert not child.answers(f"http://127.0.0.1:{port}/health")
