"""The bounds of connections come from the environment."""

import os
import subprocess
import sys

SHOW = "from config.http import Http; s = Http.settings; print(s.max_connections, s.max_head_bytes, s.idle_seconds)"


def shown(**environment: str) -> str:
    run = [sys.executable, "-c", SHOW]
    return subprocess.run(
        run, env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout


def test_bounds_have_defaults_and_names() -> None:
    assert shown() == "10000 65536 65\n"
    assert shown(MAX_CONNECTIONS="9", MAX_HEAD_BYTES="8192", IDLE_SECONDS="7") == "9 8192 7\n"
