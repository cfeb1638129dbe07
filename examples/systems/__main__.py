"""`python -m examples.systems ocr|tensors|embeddings|qwen`: a whole system, from its model server to the money.

PostgreSQL, Redis, gateway, worker and beat are started on free ports, with data of their own that is removed at the
end, and so are the model servers. Each system makes its calls, prints what became of each, and stops; where an
answer is not what docs/systems says, the command exits with 1. Logs are left in `var/systems/`.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import aiohttp

from config.embedded import CannotStart
from examples import child
from examples.stack import ROOT, CommandFailed, Stack, running_stack
from examples.systems import embeddings, ocr, qwen, tensors
from examples.systems.gateway import Surprise
from examples.systems.system import NotInstalled, System, call, serving, table

SYSTEMS = {
    "ocr": ocr.SYSTEM,
    "tensors": tensors.SYSTEM,
    "embeddings": embeddings.SYSTEM,
    "qwen": qwen.SYSTEM,
}
FAILURES = (
    OSError,
    aiohttp.ClientError,
    CannotStart,
    child.ChildError,
    CommandFailed,
    NotInstalled,
    Surprise,
)


def main() -> None:
    """Run the systems that are named; exit with 1 and a message where something fails."""
    parser = argparse.ArgumentParser(description="Run whole systems of model servers and the gateway.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SYSTEMS)}; none: all of them")
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "systems", help="default: var/systems")
    options = parser.parse_args()
    if unknown := set(options.names) - SYSTEMS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; name some of {', '.join(SYSTEMS)}")
    signal.signal(signal.SIGTERM, _stop)
    try:
        show(options.names, options.output.resolve())
    except FAILURES as error:
        sys.exit(f"The example failed: {error}\nLogs are in {options.output}.")
    except KeyboardInterrupt:
        sys.exit("The example was interrupted; all that it started is stopped.")


def show(names: Sequence[str], output: Path) -> None:
    """Run the systems one after the other on one stack and print their tables.

    Without names all of those that were installed.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stack-", dir=output) as home:
        print("» Starting PostgreSQL, Redis, web and gateway, worker and beat", flush=True)
        with running_stack(Path(home), log=output / "stack.log") as stack:
            for name in names or SYSTEMS:
                try:
                    _show_one(SYSTEMS[name], stack, output)
                except NotInstalled as missing:
                    if names:
                        raise
                    print(f"» {name} is left out: {missing}", flush=True)


def _show_one(system: System, stack: Stack, output: Path) -> None:
    print(f"» {system.title} (examples/catalogs/{system.catalog})", flush=True)
    with serving(system, stack, output) as key:
        answers = asyncio.run(call(system, stack.url, key))
    print(f"\n{table(answers)}\n", flush=True)


def _stop(_signal_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
