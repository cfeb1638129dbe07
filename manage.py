#!/usr/bin/env python
"""Run a management command, on the embedded servers where no others are named."""

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.embedded import EmbeddedServers

WITHOUT_SERVERS = frozenset(
    {
        "check",
        "collectstatic",
        "compilemessages",
        "help",
        "makemessages",
        "spectacular",
        "--help",
        "--version",
    }
)


def main() -> None:
    """Run the command that the command line names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    if command in WITHOUT_SERVERS or "--help" in sys.argv:
        return _execute()
    signal.signal(signal.SIGTERM, _exit)
    servers = _start_servers()
    try:
        _execute()
    finally:
        servers.release()


def _exit(signal_number: int, _frame: object) -> None:
    sys.exit(128 + signal_number)  # as an exception, so that the servers are let go of


def _start_servers() -> "EmbeddedServers":
    from config import env
    from config.embedded import CannotStart, EmbeddedServers

    servers = EmbeddedServers(
        env.home(), with_postgres=not env.text("DATABASE_URL"), with_redis=not env.text("REDIS_URL")
    )
    if servers.with_postgres or servers.with_redis:
        try:
            os.environ.update(servers.start())
        except CannotStart as error:
            sys.exit(f"zerorate: {error}")
    return servers


def _execute() -> None:
    from django.core.management import execute_from_command_line

    from config.env import MissingSetting

    try:
        execute_from_command_line(sys.argv)
    except MissingSetting as error:
        sys.exit(f"zerorate: {error}")


if __name__ == "__main__":
    main()
