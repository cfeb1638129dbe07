"""`python -m benchmarks`: all of them, by name."""

import subprocess
import sys
from pathlib import Path

import benchmarks
from benchmarks.__main__ import BY_NAME

FOLDER = Path(benchmarks.__file__).parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent, check=False)


def test_every_benchmark_is_known_by_its_name() -> None:
    that_report = {file.stem for file in FOLDER.glob("*.py") if _reports(file)}
    assert that_report == set(BY_NAME)


def test_help_lists_them_all_with_what_they_measure() -> None:
    told = run("--help").stdout
    assert all(f"  {name} " in told for name in BY_NAME)
    assert "Is memory flat" in told


def test_a_name_that_is_none_is_refused() -> None:
    refused = run("gateway_hits", "nonsense")
    assert refused.returncode == 2
    assert "there is no nonsense" in refused.stderr
    assert not refused.stdout


def _reports(file: Path) -> bool:
    return file.stem != "results" and "report(" in file.read_text()
