"""A pytest plugin that gives the suite its own embedded servers, unless the environment names others.

It must run before Django's settings are read, so it is named in ``addopts`` and not in a conftest.
"""

import os
from pathlib import Path

import pytest

from config.embedded import EmbeddedServers

HOME = Path(__file__).resolve().parent.parent / "var" / "test"
SERVERS = pytest.StashKey[EmbeddedServers]()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start the servers that are not named and name them in the environment.

    Each parallel worker has a cluster of its own: transaction ids, by which usage is rolled up, are the whole
    cluster's, so that one worker's open transaction would hold back another's roll-up.
    """
    os.environ["DATABASE_ROLE"] = ""  # the suite makes its database, so it runs as the owner
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None and getattr(early_config.known_args_namespace, "numprocesses", None):
        return  # the workers run the tests
    home = HOME / (worker or "alone")
    os.environ["ZERORATE_HOME"] = str(home)
    servers = EmbeddedServers(
        home, with_postgres="DATABASE_URL" not in os.environ, with_redis="REDIS_URL" not in os.environ
    )
    if servers.with_postgres or servers.with_redis:
        os.environ.update(servers.start())
        early_config.stash[SERVERS] = servers


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the servers."""
    servers = config.stash.get(SERVERS, None)
    if servers is not None:
        servers.release()


def models_dir() -> Path:
    """Return where the local encoder's graph is kept between runs of one worker's tests."""
    return Path(os.environ["ZERORATE_HOME"]) / "models"
