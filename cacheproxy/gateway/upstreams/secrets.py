"""The operator's own keys for upstreams: in the environment or in files, never in the database."""

import os
from pathlib import Path


def read_secret(name: str) -> str | None:
    """Return the environment's secret *name*, or what the file named by ``NAME_FILE`` holds; None where neither is."""
    if value := os.environ.get(name):
        return value
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except OSError:
            return None
    return None
