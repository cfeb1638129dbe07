"""How fast is a hit: one gateway process, durable events, answers from memory, against a bare ASGI handler.

The handler runs under uvicorn as anybody would run it (uvloop, httptools), and once more under the protocol that the
gateway has. One process each, loaded in turns, so that a noisy machine is as noisy to all. The targets: at least half
of the handler's throughput at 64 connections, and a median under 1.5 ms at one.
"""

import contextlib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import psycopg

from benchmarks.load import load, post
from benchmarks.results import Target, median, progress, report, share
from benchmarks.stack import OWN_PROTOCOL, add_tenant, running, servers, serving

CONNECTIONS = (1, 16, 64)
ROUNDS = 9
SECONDS = 1.0
TARGET_SHARE = 0.5
TARGET_P50_US = 1500
PATH = "/v1/chat/completions"
BODY = json.dumps(
    {"model": "qwen-small", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
)

Runs = Mapping[str, Mapping[int, list[dict[str, Any]]]]


def main() -> None:
    """Measure, print the table, write the JSON."""
    with servers() as environment, contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running("benchmarks.upstream", environment=environment))
        key = add_tenant(environment, f"http://127.0.0.1:{upstream.port}/v1")
        ports = {
            name: stack.enter_context(serving(app, environment, http=http)).port
            for name, app, http in (
                ("bare", "benchmarks.bare:application", "httptools"),
                ("bare_own", "benchmarks.bare:application", OWN_PROTOCOL),
                ("gateway", "config.gateway:application", OWN_PROTOCOL),
            )
        }
        runs = _measure(ports, key)
        _report(runs, _recorded(environment["DATABASE_URL"]))


def _measure(ports: Mapping[str, int], key: str) -> Runs:
    request = post(PATH, key, BODY)
    load(ports["gateway"], request, connections=1, expected="200 OK", requests=1)
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {name: defaultdict(list) for name in ports}
    for _ in progress("gateway_hits", range(ROUNDS)):
        for connections in CONNECTIONS:
            for name, port in ports.items():
                expected = "zerorate; hit;" if name == "gateway" else "200 OK"
                runs[name][connections].append(
                    load(port, request, connections=connections, expected=expected, seconds=SECONDS)
                )
    return runs


def _recorded(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM metering_usageevent").fetchone()
        assert row is not None
        return int(row[0])


def _report(runs: Runs, recorded: int) -> None:
    rows = [_row(runs, connections) for connections in CONNECTIONS]
    answered = sum(run["requests"] for each in runs["gateway"].values() for run in each)
    report(
        "gateway_hits",
        "durable events, memory hits; uvicorn, uvloop; one process",
        rows,
        [
            Target("share of the bare handler at 64 connections", rows[-1]["share"], TARGET_SHARE),
            Target("p50 at 1 connection, µs", rows[0]["gateway_p50_us"], TARGET_P50_US, at_most=True),
            Target("wrong answers", sum(row["wrong"] for row in rows), 0, at_most=True),
        ],
        f"events recorded: {recorded:,}, answers counted: {answered:,} (calls under way when a round ends are not)",
    )


def _row(runs: Runs, connections: int) -> dict[str, Any]:
    row: dict[str, Any] = {"connections": connections}
    for name, each in runs.items():
        row[f"{name}_rps"] = median(each[connections], "requests_per_second")
    for column, bare in (("share", "bare"), ("share_own", "bare_own")):
        row[column] = share(runs["gateway"][connections], runs[bare][connections], "requests_per_second")
    row["bare_p50_us"] = median(runs["bare"][connections], "p50_us")
    row["gateway_p50_us"] = median(runs["gateway"][connections], "p50_us")
    row["gateway_p99_us"] = median(runs["gateway"][connections], "p99_us")
    row["wrong"] = sum(run["wrong"] for run in runs["gateway"][connections])
    return row


if __name__ == "__main__":
    main()
