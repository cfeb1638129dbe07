"""One stack for all systems, and what it recorded of their calls."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from examples.stack import Stack, running_stack
from examples.systems.gateway import Answer
from examples.systems.system import NotInstalled, System, serving

EVENTS = "SELECT * FROM metering_usageevent WHERE request_id = %s ORDER BY outcome DESC"


class Stage(NamedTuple):
    """The stack, a folder for logs, and a connection to the usage events."""

    stack: Stack
    folder: Path
    ledger: psycopg.Connection[Any]

    @contextlib.contextmanager
    def serving(self, system: System) -> Iterator[str]:
        """Run a system's servers and give its customer's key; skip where an environment could not be built."""
        try:
            with serving(system, self.stack, self.folder) as key:
                yield key
        except NotInstalled as missing:
            pytest.skip(str(missing))

    def events(self, answer: Answer) -> list[Any]:
        """Return what was recorded of a call: of a batch that was part hit, part miss, the miss first."""
        return self.ledger.execute(EVENTS, [answer.headers["x-request-id"]]).fetchall()

    def event(self, answer: Answer) -> Any:
        """Return the one event of a call."""
        (event,) = self.events(answer)
        return event

    def check(self, answers: list[Answer]) -> None:
        """Hold each call's event to what its head told; what failed has none."""
        for answer in answers:
            recorded = [event.outcome for event in self.events(answer)]
            told = {"partial": ["miss", "exact"]}.get(answer.outcome, [answer.outcome])
            assert recorded == ([] if answer.outcome.isdigit() else told), answer.step


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """Give the stack that `python -m examples.systems` runs.

    Its folder is not pytest's own: started by root, PostgreSQL runs as another user and opens the path to its data,
    which the next run of pytest on the machine would close again.
    """
    with tempfile.TemporaryDirectory(prefix="zerorate-systems-") as name:
        folder = Path(name)
        with running_stack(folder / "home", log=folder / "stack.log") as stack:
            url = stack.environment["DATABASE_URL"]
            with psycopg.connect(url, autocommit=True, row_factory=namedtuple_row) as ledger:
                yield Stage(stack, folder, ledger)
