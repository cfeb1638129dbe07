"""GPTCache over a stream of questions, in an environment of its own."""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.apart import install
from benchmarks.quality.deciders import Outcome
from benchmarks.quality.streams import Stream
from benchmarks.results import path

VERSION = "0.1.44"
PACKAGES = (f"gptcache=={VERSION}", "faiss-cpu", "sqlalchemy")
DEFAULT_THRESHOLD = 0.8
IN_MEMORY = Path("/dev/shm")
"""Its SQLite commits at every look-up: it is not to wait for a disk."""


def missing() -> str | None:
    """Install GPTCache if it is not there; return what went wrong."""
    return install(path("gptcache"), PACKAGES)


def asked_of_gptcache(stream: Stream, threshold: float) -> Outcome:
    """Return what GPTCache does with *stream* under a similarity threshold."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        file = Path(folder) / "stream.npz"
        np.savez(file, texts=np.array(stream.texts), vectors=stream.vectors)
        driver = Path(__file__).with_name("gptcache_driver.py")
        command = [
            str(part) for part in (path("gptcache") / "bin" / "python", driver, file, threshold, folder)
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    told = json.loads(done.stdout)
    return Outcome(told["found"], told["taken_us"])
