"""Environments of their own for what a benchmark compares us with."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.stack import ROOT


def install(home: Path, packages: Sequence[str]) -> str | None:
    """Install *packages* into *home* if it is not there; return what went wrong."""
    uv = str(ROOT / "var" / "bootstrap" / "bin" / "uv")
    python = home / "bin" / "python"
    if python.exists():
        return None
    commands = (
        [uv, "venv", "--quiet", str(home)],
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages],
    )
    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as failure:
            python.unlink(missing_ok=True)
            return (getattr(failure, "stderr", "") or str(failure)).strip().splitlines()[-1]
    return None
