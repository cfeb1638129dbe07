"""The gateway beside LiteLLM's proxy: hits and misses, same upstream, same Redis, one process each, in turns.

LiteLLM is set up as well as we know how: one worker, the packages without which it imports in vain on every request,
bytecode kept, a master key and no database (so that it records nothing, while the gateway records every call). It is
installed into an environment of its own; where that cannot be done this benchmark is skipped, and says so.
The targets: 100 times its hits a second, 40 times its misses.
"""

import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import gateway_hits, gateway_misses
from benchmarks.apart import install
from benchmarks.load import load, post
from benchmarks.results import Target, median, path, progress, report
from benchmarks.stack import add_tenant, free_port, running, servers, serving

VERSION = "1.106.2"
PACKAGES = (f"litellm[proxy]=={VERSION}", "opentelemetry-sdk", "httptools")
CONNECTIONS = (1, 16, 64)
ROUNDS = 2
SECONDS = 4.0
START_SECONDS = 120
TARGET_HITS = 100
TARGET_MISSES = 40
MASTER_KEY = "sk-bench"

Runs = Mapping[tuple[str, str, int], list[dict[str, Any]]]


def main() -> None:
    """Measure, print the table, write the JSON; or say why not."""
    home = path("litellm")
    if problem := install(home, PACKAGES):
        print(f"litellm: skipped, LiteLLM {VERSION} cannot be installed: {problem}\n")
        return
    with servers() as environment, contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running("benchmarks.upstream", environment=environment))
        url = f"http://127.0.0.1:{upstream.port}/v1"
        keys = {"gateway": add_tenant(environment, url), "litellm": MASTER_KEY}
        ports = {
            "gateway": stack.enter_context(serving("config.gateway:application", environment)).port,
            "litellm": stack.enter_context(_litellm(home, url, environment["REDIS_URL"])),
        }
        _report(_measure(ports, keys))


@contextlib.contextmanager
def _litellm(home: Path, upstream_url: str, redis_url: str) -> Iterator[int]:
    model = {"model": "openai/small", "api_base": upstream_url, "api_key": "none"}
    config = {
        "model_list": [{"model_name": "qwen-small", "litellm_params": model}],
        "litellm_settings": {"cache": True, "cache_params": {"type": "redis", "url": redis_url}},
        "general_settings": {"master_key": MASTER_KEY},
    }
    settings = home / "config.yaml"
    settings.write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = inherited | {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(home / "bin" / "litellm"),
                "--config",
                str(settings),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
        )
    try:
        _wait_until_alive(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_until_alive(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2),
        ):
            return
        time.sleep(0.5)
    raise TimeoutError("LiteLLM does not serve; its log is beside its config.yaml")


def _measure(ports: Mapping[str, int], keys: Mapping[str, str]) -> Runs:
    bodies = {"hits": gateway_hits.BODY, "misses": gateway_misses.BODY}
    runs: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for name, port in ports.items():  # the one miss, and some warmth
        for body in bodies.values():
            load(
                port, post(gateway_hits.PATH, keys[name], body), connections=1, expected="200 OK", requests=20
            )
    for _ in progress("litellm", range(ROUNDS)):
        for connections in CONNECTIONS:
            for kind, body in bodies.items():
                for name, port in ports.items():
                    request = post(gateway_hits.PATH, keys[name], body)
                    run = load(port, request, connections=connections, expected="200 OK", seconds=SECONDS)
                    runs[name, kind, connections].append(run)
    return runs


def _report(runs: Runs) -> None:
    rows = [_row(runs, kind, connections) for kind in ("hits", "misses") for connections in CONNECTIONS]
    times = {kind: _best(rows, kind, "gateway") / _best(rows, kind, "litellm") for kind in ("hits", "misses")}
    report(
        "litellm",
        f"the gateway (records every call) and LiteLLM {VERSION} (records none)",
        rows,
        [
            Target("hits a second, times LiteLLM's", times["hits"], TARGET_HITS),
            Target("misses a second, times LiteLLM's", times["misses"], TARGET_MISSES),
            Target("wrong answers", sum(row["wrong"] for row in rows), 0, at_most=True),
        ],
        "the targets compare what each does at the number of connections that suits it best",
    )


def _best(rows: list[dict[str, Any]], kind: str, name: str) -> float:
    return float(max(1, *(row[f"{name}_rps"] for row in rows if row["kind"] == kind)))


def _row(runs: Runs, kind: str, connections: int) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": kind, "connections": connections, "wrong": 0}
    for name in ("gateway", "litellm"):
        each = runs[name, kind, connections]
        row[f"{name}_rps"] = median(each, "requests_per_second")
        row[f"{name}_p50_us"] = median(each, "p50_us")
        row["wrong"] += sum(run["wrong"] for run in each)
    row["times"] = round(row["gateway_rps"] / max(1, row["litellm_rps"]), 1)
    return row


if __name__ == "__main__":
    main()
