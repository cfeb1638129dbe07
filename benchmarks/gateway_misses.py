"""What a miss costs: distinct requests through the gateway, through a forwarder that does nothing, and straight.

The forwarder is a bare ASGI application over aiohttp. It runs under uvicorn as anybody would run it (uvloop,
httptools), and once more under the protocol that the gateway has; the upstream answers at once and is never the
limit. One process each, loaded in turns. The targets: at 64 connections at least half of the forwarder's
throughput, and at one connection no more than 1.5 times what it adds to the median.
"""

import contextlib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from benchmarks.load import PLACE, load, post
from benchmarks.results import Target, median, progress, report, share
from benchmarks.stack import OWN_PROTOCOL, add_tenant, running, servers, serving

CONNECTIONS = (1, 16, 64)
ROUNDS = 9
SECONDS = 1.0
TARGET_SHARE = 0.5
TARGET_ADDED = 1.5
PATH = "/v1/chat/completions"
QUESTION = f"What is the capital of France? {PLACE.decode()}"
BODY = json.dumps({"model": "qwen-small", "messages": [{"role": "user", "content": QUESTION}]})

Runs = Mapping[str, Mapping[int, list[dict[str, Any]]]]


def main() -> None:
    """Measure, print the table, write the JSON."""
    with servers() as environment, contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running("benchmarks.upstream", environment=environment))
        url = f"http://127.0.0.1:{upstream.port}"
        key = add_tenant(environment, f"{url}/v1")
        forwarding = environment | {"FORWARD_TO": url}
        ports = {
            "straight": upstream.port,
        } | {
            name: stack.enter_context(serving(app, given, http=http)).port
            for name, app, given, http in (
                ("forwarder", "benchmarks.forwarder:application", forwarding, "httptools"),
                ("forwarder_own", "benchmarks.forwarder:application", forwarding, OWN_PROTOCOL),
                ("gateway", "config.gateway:application", environment, OWN_PROTOCOL),
            )
        }
        _report(_measure(ports, key))


def _measure(ports: Mapping[str, int], key: str) -> Runs:
    request = post(PATH, key, BODY)
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {name: defaultdict(list) for name in ports}
    for port in ports.values():
        load(port, request, connections=4, expected="200 OK", seconds=0.5)
    for _ in progress("gateway_misses", range(ROUNDS)):
        for connections in CONNECTIONS:
            for name, port in ports.items():
                expected = "zerorate; fwd=miss" if name == "gateway" else "200 OK"
                runs[name][connections].append(
                    load(port, request, connections=connections, expected=expected, seconds=SECONDS)
                )
    return runs


def _report(runs: Runs) -> None:
    rows = [_row(runs, connections) for connections in CONNECTIONS]
    report(
        "gateway_misses",
        "distinct requests, durable events; against a bare ASGI → aiohttp forwarder; one process each",
        rows,
        [
            Target("share of the forwarder at 64 connections", rows[-1]["share"], TARGET_SHARE),
            Target(
                "added p50 at 1 connection, of the forwarder's", rows[0]["added"], TARGET_ADDED, at_most=True
            ),
            Target("wrong answers", sum(row["wrong"] for row in rows), 0, at_most=True),
        ],
    )


def _row(runs: Runs, connections: int) -> dict[str, Any]:
    row: dict[str, Any] = {"connections": connections}
    for name, each in runs.items():
        row[f"{name}_rps"] = median(each[connections], "requests_per_second")
        row[f"{name}_p50_us"] = median(each[connections], "p50_us")
    row["share"] = share(runs["gateway"][connections], runs["forwarder"][connections], "requests_per_second")
    forwarder_adds = row["forwarder_p50_us"] - row["straight_p50_us"]
    row["added"] = round((row["gateway_p50_us"] - row["straight_p50_us"]) / max(1, forwarder_adds), 2)
    row["gateway_p99_us"] = median(runs["gateway"][connections], "p99_us")
    row["wrong"] = sum(run["wrong"] for run in runs["gateway"][connections])
    return row


if __name__ == "__main__":
    main()
