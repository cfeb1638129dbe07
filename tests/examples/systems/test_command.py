"""`python -m examples.systems`, as a reader runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from examples.stack import ROOT

pytestmark = pytest.mark.journey


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "examples.systems", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.skipif(
    not (ROOT / "var" / "mlserver").exists(),
    reason="var/mlserver is missing: its packages were not to be had (requirements/mlserver.in)",
)
def test_it_prints_what_became_of_each_call_and_stops(own_folder: Path) -> None:
    done = run("tensors", "--output", str(own_folder))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    (free,) = (line for line in lines if line.startswith("again: other id"))
    assert free.split()[-5:-1] == ["exact", "0.0002", "0", "0.0002"]
    (total,) = (line for line in lines if line.startswith("18 calls"))
    assert total.split()[2:] == ["5", "hits", "0.0078", "0.0052", "0.0026"]
    assert not list(own_folder.glob("stack-*"))


def test_a_system_that_is_not_there(tmp_path: Path) -> None:
    done = run("weather", "--output", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "there is no weather; name some of" in done.stderr
    assert not (tmp_path / "none").exists()
