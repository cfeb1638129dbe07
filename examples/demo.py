"""`make demo`: the main job on real input, from an empty folder to paid-for paper, unattended.

An OCR model server, PostgreSQL, Redis, the gateway, a Celery worker and beat are started on free ports, with data of
their own that is removed at the end. Two customers on two plans upload drawn receipts and forms again and again
(`examples.workload`); the month is closed, every invoice recomputed from its events, and the customers download their
papers with their API keys. What is left is in `var/demo/`: invoices, usage and logs.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import NoReturn

import aiohttp
from tqdm import tqdm

from config.embedded import CannotStart
from examples import account, calls, child, documents, report, workload
from examples.account import Bill
from examples.calls import Answer
from examples.demo_data import upstream_command, write_catalog
from examples.stack import ROOT, CommandFailed, Stack, running_stack

FAILURES = (
    OSError,
    account.DownloadFailed,
    aiohttp.ClientError,
    calls.CallFailed,
    CannotStart,
    child.ChildError,
    CommandFailed,
)


class DemoFailed(RuntimeError):
    """Something that the demo checks does not hold; the message says what."""


def main() -> None:
    """Run the demo; exit with 1 and a message where something fails."""
    parser = argparse.ArgumentParser(description="Run Zerorate's main job on real input.")
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "demo", help="default: var/demo")
    parser.add_argument("--seed", type=int, default=1, help="draws the documents and the order of calls")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    try:
        run(options.output.resolve(), seed=options.seed)
    except (*FAILURES, DemoFailed) as error:
        sys.exit(f"The demo failed: {error}\nLogs are in {options.output}.")
    except KeyboardInterrupt:
        sys.exit("The demo was interrupted; all that it started is stopped.")


def run(output: Path, *, seed: int) -> None:
    """Run the demo and leave its papers in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    for old in [*output.glob("*.pdf"), *output.glob("*.html"), *output.glob("*.csv")]:
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="stack-", dir=output) as home, contextlib.ExitStack() as running:
        port = child.free_port()
        _say("Starting the OCR model server")
        health = f"http://127.0.0.1:{port}/health"
        command = upstream_command("ocr_server", port)
        running.enter_context(child.running(command, ready_url=health, log=output / "ocr.log"))
        _say("Starting PostgreSQL, Redis, web and gateway, worker and beat")
        stack = running.enter_context(running_stack(Path(home), log=output / "stack.log"))
        _say(f"Serving on {stack.url}; applying the catalog")
        write_catalog("demo.yaml", output / "catalog.yaml", ports={9100: port})
        print(stack.manage("apply", str(output / "catalog.yaml")), end="")
        _work(stack, output, seed)
        _say("Stopping all of it")


def _work(stack: Stack, output: Path, seed: int) -> None:
    now = datetime.now(UTC)
    keys = {
        tenant: stack.manage("issue_key", "--tenant", tenant, "--name", "Demo").strip()
        for tenant in workload.STEPS
    }
    answers = _send(stack.url, keys, seed=seed, now=now)
    _check_readings(answers)
    month = f"{now:%Y-%m}"
    _say(f"Rolling usage up and closing {month}")
    stack.manage("roll_up_usage")
    print(stack.manage("close_period", "--month", month, "--early"), end="")
    bills = {tenant: account.fetch_bill(stack.url, key) for tenant, key in keys.items()}
    _check_bills(answers, bills)
    for bill in bills.values():
        print(stack.manage("verify_invoice", bill.number), end="")
    print(f"\n{report.table(answers, bills)}\n")
    for tenant, bill in bills.items():
        for path in account.download_papers(
            stack.url, keys[tenant], tenant=tenant, number=bill.number, month=month, folder=output
        ):
            print(path)


def _send(url: str, keys: Mapping[str, str], *, seed: int, now: datetime) -> list[Answer]:
    uploads = workload.uploads(seed=seed, now=now)
    pages = {upload.document.name for upload in uploads}
    _say(f"Sending {len(pages)} documents in {len(uploads)} calls of {len(keys)} customers")
    with tqdm(total=len(uploads), unit=" calls", disable=None) as bar:
        return asyncio.run(calls.send(uploads, url=url, keys=keys, on_answer=bar.update))


def _check_readings(answers: Sequence[Answer]) -> None:
    """Compare every reading, computed or from the cache, with what was drawn."""
    facts = 0
    for answer in answers:
        document = answer.upload.document
        if missing := documents.missing_facts(document, answer.text):
            raise DemoFailed(f"{document.name} was read without {', '.join(missing)}")
        facts += len(document.facts)
    _say(f"All {facts:,} names, dates and amounts in the {len(answers)} readings are as drawn")


def _check_bills(answers: Sequence[Answer], bills: Mapping[str, Bill]) -> None:
    """Compare each invoice with the calls that were made and the costs that the gateway told in its headers."""
    for tenant, bill in bills.items():
        own = [answer for answer in answers if answer.upload.tenant == tenant]
        told = sum((answer.cost for answer in own), Decimal(0))
        if sum(bill.calls.values()) != len(own):
            raise DemoFailed(f"{bill.number} has {sum(bill.calls.values())} calls of {len(own)} made")
        if bill.charged_exactly != told:
            raise DemoFailed(f"{bill.number} charges {bill.charged_exactly}, the gateway told {told}")


def _say(what: str) -> None:
    print(f"» {what}", flush=True)


def _stop(_signal_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
