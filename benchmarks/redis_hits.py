"""What a hit from Redis costs more than one from memory: two gateways, one of which keeps nothing in memory.

Both record every call durably; beside them the bare handler under the same protocol. One process each, loaded in
turns. That the second gateway's hits were Redis' is told by Redis itself, which counts the keys it found. The target:
less than a millisecond added to the median at one connection.
"""

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import redis

from benchmarks.gateway_hits import BODY, PATH
from benchmarks.load import load, post
from benchmarks.results import Target, median, progress, report
from benchmarks.stack import add_tenant, running, servers, serving

CONNECTIONS = (1, 16, 64)
ROUNDS = 3
SECONDS = 1.5
CHECKED = 100
TARGET_MS = 1.0

Runs = Mapping[str, Mapping[int, list[dict[str, Any]]]]


def main() -> None:
    """Measure, print the table, write the JSON."""
    with servers() as environment, contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running("benchmarks.upstream", environment=environment))
        key = add_tenant(environment, f"http://127.0.0.1:{upstream.port}/v1")
        forgetful = environment | {"MEMORY_CACHE_BYTES": "1"}
        ports = {
            name: stack.enter_context(serving(app, given)).port
            for name, app, given in (
                ("bare", "benchmarks.bare:application", environment),
                ("memory", "config.gateway:application", environment),
                ("redis", "config.gateway:application", forgetful),
            )
        }
        request = post(PATH, key, BODY)
        runs = _measure(ports, request)
        _report(runs, _found(environment["REDIS_URL"], ports["redis"], request))


def _found(redis_url: str, port: int, request: str) -> float:
    """Return how many keys Redis finds for a call, of some that come one after the other."""
    with redis.Redis.from_url(redis_url) as server:
        before = server.info("stats")["keyspace_hits"]
        load(port, request, connections=1, expected="zerorate; hit;", requests=CHECKED)
        return float(server.info("stats")["keyspace_hits"] - before) / CHECKED


def _measure(ports: Mapping[str, int], request: str) -> Runs:
    for port in ports.values():
        load(port, request, connections=1, expected="200 OK", requests=20)
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {name: defaultdict(list) for name in ports}
    for _ in progress("redis_hits", range(ROUNDS)):
        for connections in CONNECTIONS:
            for name, port in ports.items():
                expected = "200 OK" if name == "bare" else "zerorate; hit;"
                runs[name][connections].append(
                    load(port, request, connections=connections, expected=expected, seconds=SECONDS)
                )
    return runs


def _report(runs: Runs, found: float) -> None:
    rows = [_row(runs, connections) for connections in CONNECTIONS]
    added_ms = (rows[0]["redis_p50_us"] - rows[0]["memory_p50_us"]) / 1000
    report(
        "redis_hits",
        "durable events; hits from memory and from Redis; one process each",
        rows,
        [
            Target("added to p50 at 1 connection, ms", added_ms, TARGET_MS, at_most=True),
            Target("keys found by Redis for a call", found, 1),
            Target("wrong answers", sum(row["wrong"] for row in rows), 0, at_most=True),
        ],
    )


def _row(runs: Runs, connections: int) -> dict[str, Any]:
    row: dict[str, Any] = {"connections": connections}
    for name, each in runs.items():
        row[f"{name}_rps"] = median(each[connections], "requests_per_second")
        row[f"{name}_p50_us"] = median(each[connections], "p50_us")
    row["redis_p99_us"] = median(runs["redis"][connections], "p99_us")
    row["wrong"] = sum(run["wrong"] for each in runs.values() for run in each[connections])
    return row


if __name__ == "__main__":
    main()
