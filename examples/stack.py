"""The whole stack on servers of its own, for as long as a block lasts."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from config.embedded import EmbeddedServers
from examples import child

ROOT = Path(__file__).resolve().parent.parent
MANAGE = str(ROOT / "manage.py")
NOT_INHERITED = ("DATABASE_URL", "DATABASE_ROLE", "REDIS_URL", "SECRET_KEY", "KEY_PEPPER", "STRIPE_API_KEY")

PATIENT = {"SEMANTIC_BUDGET_MS": "2000"}
"""What shows something must show it on a busy machine, too."""


class CommandFailed(RuntimeError):
    """A management command failed; the message has what it printed on standard error."""


class Stack(NamedTuple):
    """A running stack: its root URL and the environment in which commands find its servers."""

    url: str
    environment: Mapping[str, str]

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed.

        Raises:
            CommandFailed: it did not exit with 0.
        """
        command = [sys.executable, MANAGE, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandFailed(f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout


@contextlib.contextmanager
def running_stack(home: Path, *, log: Path) -> Iterator[Stack]:
    """Run embedded PostgreSQL and Redis, web and gateway, worker and beat under `home`, without demo data.

    Servers that the environment names are left alone, whatever they are.

    Raises:
        CannotStart: PostgreSQL or Redis does not start.
        ChildError: the rest does not.
    """
    servers = EmbeddedServers(home)
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment = inherited | PATIENT | {"ZERORATE_HOME": str(home), **servers.start()}
    port = child.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [MANAGE, "up", "--no-demo-data", "--port", str(port)]
    try:
        with child.running(command, ready_url=f"{url}/readyz", log=log, environment=environment):
            yield Stack(url, environment)
    finally:
        servers.release()
