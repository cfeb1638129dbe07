"""A system: the model servers, the catalog file and the calls that show what it is, run against a stack."""

import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from examples import child
from examples.demo_data import upstream_command, write_catalog
from examples.report import aligned
from examples.stack import ROOT, Stack
from examples.systems.gateway import Answer, Gateway, customer

HEAD = ("", "outcome", "list price", "paid", "saved", "ms")


class NotInstalled(RuntimeError):
    """A server's environment is missing; the message says which."""


class Server(NamedTuple):
    """A module of `examples.upstreams`, the port that the catalog file gives it, and what it needs to run."""

    module: str
    usual_port: int
    ready_path: str = "/health"
    environment: str = ""
    """The folder in `var/` with its interpreter; none for ours."""
    options: Sequence[str] = ()

    @property
    def python(self) -> str:
        """Return the interpreter that it runs in."""
        return str(ROOT / "var" / self.environment / "bin" / "python") if self.environment else sys.executable


class System(NamedTuple):
    """What an example consists of; `tenant` is the customer whose calls are made."""

    title: str
    catalog: str
    servers: Sequence[Server]
    tenant: str
    calls: Callable[[Gateway], Awaitable[None]]


@contextlib.contextmanager
def serving(system: System, stack: Stack, folder: Path) -> Iterator[str]:
    """Run the system's servers with its catalog applied, and give an API key of its tenant; logs go to the folder.

    Raises:
        NotInstalled: a server's environment could not be built by `make install`.
        ChildError: a server does not start.
        CommandFailed: the catalog is refused.
    """
    for server in system.servers:
        if not Path(server.python).exists():
            raise NotInstalled(
                f"var/{server.environment} is missing: its packages were not to be had at the last `make install`"
                f" (requirements/{server.environment}.in)"
            )
    with contextlib.ExitStack() as running:
        ports = {server.usual_port: child.free_port() for server in system.servers}
        for server in system.servers:
            port = ports[server.usual_port]
            up = child.running(
                [*upstream_command(server.module, port), *server.options],
                ready_url=f"http://127.0.0.1:{port}{server.ready_path}",
                log=folder / f"{server.module}.log",
                python=server.python,
            )
            running.enter_context(up)
        catalog = folder / system.catalog
        write_catalog(system.catalog, catalog, ports=ports)
        stack.manage("apply", str(catalog))
        yield stack.manage("issue_key", "--tenant", system.tenant, "--name", "Example").strip()


async def call(system: System, url: str, key: str) -> list[Answer]:
    """Make the system's calls at a gateway and return what came.

    Raises:
        Surprise: an answer is not what the example says.
        aiohttp.ClientError: the gateway cannot be reached.
    """
    async with customer(url, key) as gateway:
        await system.calls(gateway)
    return gateway.answers


def table(answers: Sequence[Answer]) -> str:
    """Return a line for each answer and one for all: outcome, exact money in the plan's currency, milliseconds."""
    lines = [_line(answer) for answer in answers]
    hits = sum(answer.is_hit for answer in answers)
    money = [sum(amounts) for amounts in zip(*map(_money, answers), strict=True)]
    return aligned([HEAD, *lines, [f"{len(answers)} calls", f"{hits} hits", *map(_exact, money), ""]])


def _line(answer: Answer) -> list[str]:
    return [answer.step, answer.outcome, *map(_exact, _money(answer)), f"{answer.latency_ms:.1f}"]


def _money(answer: Answer) -> tuple[Decimal, Decimal, Decimal]:
    return answer.list_cost, answer.cost, answer.saved


def _exact(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
