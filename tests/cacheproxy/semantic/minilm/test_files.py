"""The graph's file: built once, whole, whoever builds it."""

import subprocess
import sys
from pathlib import Path

from cacheproxy.semantic.minilm.files import graph_file

BUILD = (
    "import sys, pathlib; from cacheproxy.semantic.minilm.files import graph_file;"
    " print(graph_file(pathlib.Path(sys.argv[1]), quantised=True))"
)


def test_processes_that_build_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    command = [sys.executable, "-c", BUILD, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {Path(process.communicate(timeout=60)[0].strip()) for process in processes}
    assert paths == set(folder.iterdir())
    (path,) = paths
    built = path.stat()
    assert graph_file(folder, quantised=True) == path
    assert path.stat().st_mtime_ns == built.st_mtime_ns


def test_another_kind_is_another_file(tmp_path: Path) -> None:
    assert graph_file(tmp_path, quantised=True) != graph_file(tmp_path, quantised=False)
