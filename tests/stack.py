"""A pytest plugin that gives the suite its own embedded servers, unless the environment names others.

It must run before Django's settings are read, so it is named in ``addopts`` and not in a conftest.
"""

import os
import re
from pathlib import Path

import pytest

from config.embedded import EmbeddedServers

HOME = Path(__file__).resolve().parent.parent / "var" / "test"
SERVERS = pytest.StashKey[EmbeddedServers]()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start the servers that are not named and name them in the environment."""
    os.environ.setdefault("ZERORATE_HOME", str(HOME))
    os.environ["DATABASE_ROLE"] = ""  # the suite makes its database, so it runs as the owner
    servers = EmbeddedServers(
        Path(os.environ["ZERORATE_HOME"]),
        with_postgres="DATABASE_URL" not in os.environ,
        with_redis="REDIS_URL" not in os.environ,
    )
    if servers.with_postgres or servers.with_redis:
        os.environ.update(servers.start())
        early_config.stash[SERVERS] = servers
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        # Django gives each parallel worker a database of its own; this gives it a Redis of its own.
        number = int(worker.removeprefix("gw")) + 1
        os.environ["REDIS_URL"] = re.sub(r"db=\d+$", f"db={number}", os.environ["REDIS_URL"])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the servers."""
    servers = config.stash.get(SERVERS, None)
    if servers is not None:
        servers.release()
