"""What the example upstreams share: a quiet LitServe on loopback that leaves no process behind."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import litserve

from examples import child
from examples.upstreams.loopback import HOST

READY_POLL_SECONDS = 0.1


def serve(
    *, name: str, apis: list[litserve.LitAPI], port: int, middlewares: Sequence[Callable[..., Any]] = ()
) -> None:
    """Serve the APIs on loopback until SIGTERM or SIGINT, and print one line once requests are answered.

    One HTTP process; one inference process per API. LitServe itself does not handle SIGTERM: its
    children would live on.
    """
    _stop_on_signals()
    server = litserve.LitServer(apis, accelerator="cpu", timeout=120, middlewares=[*middlewares])
    threading.Thread(target=_announce, args=(name, port), daemon=True).start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run(
                host=HOST, port=port, num_api_servers=1, log_level="warning", generate_client_file=False
            )
    finally:
        _end_children()


def _stop_on_signals() -> None:
    """Turn both signals into the interruption that LitServe shuts down on; forked children just leave."""
    serving_process = os.getpid()

    def stop(_signal_number: int, _frame: FrameType | None) -> None:
        if os.getpid() == serving_process:
            raise KeyboardInterrupt
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _end_children() -> None:
    """End the children that are left, as happens where the stop came in the middle of the start."""
    for process in multiprocessing.active_children():
        process.terminate()
        process.join(timeout=5)
        if process.is_alive():
            process.kill()


def _announce(name: str, port: int) -> None:
    while not child.answers(f"http://{HOST}:{port}/health"):
        time.sleep(READY_POLL_SECONDS)
    print(f"{name} ready on http://{HOST}:{port}", flush=True)
