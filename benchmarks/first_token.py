"""How much later does a stream's first byte come through the gateway than straight from the upstream.

Distinct streams, loaded in turns, so that every one is a miss. The target: under 2 ms added, in the median.
"""

import contextlib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from benchmarks.gateway_misses import PATH, QUESTION
from benchmarks.load import load, post
from benchmarks.results import Target, median, progress, report
from benchmarks.stack import add_tenant, running, servers, serving

CONNECTIONS = (1, 16)
ROUNDS = 5
SECONDS = 2.0
TARGET_MS = 2.0
BODY = json.dumps(
    {
        "model": "qwen-small",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": QUESTION}],
    }
)

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
            "forwarder": stack.enter_context(serving("benchmarks.forwarder:application", forwarding)).port,
            "gateway": stack.enter_context(serving("config.gateway:application", environment)).port,
        }
        _report(_measure(ports, post(PATH, key, BODY)))


def _measure(ports: Mapping[str, int], request: str) -> Runs:
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {name: defaultdict(list) for name in ports}
    for port in ports.values():
        load(port, request, connections=4, expected="[DONE]", seconds=0.5)
    for _ in progress("first_token", range(ROUNDS)):
        for connections in CONNECTIONS:
            for name, port in ports.items():
                runs[name][connections].append(
                    load(port, request, connections=connections, expected="[DONE]", seconds=SECONDS)
                )
    return runs


def _report(runs: Runs) -> None:
    rows = []
    for connections in CONNECTIONS:
        row: dict[str, Any] = {"connections": connections}
        for name, each in runs.items():
            row[f"{name}_us"] = median(each[connections], "first_p50_us")
        row["added_us"] = row["gateway_us"] - row["straight_us"]
        row["wrong"] = sum(run["wrong"] for run in runs["gateway"][connections])
        rows.append(row)
    report(
        "first_token",
        "time to a stream's first byte, p50; straight, through a bare forwarder, through the gateway",
        rows,
        [
            Target("added at 1 connection, ms", rows[0]["added_us"] / 1000, TARGET_MS, at_most=True),
            Target("streams without an end", sum(row["wrong"] for row in rows), 0, at_most=True),
        ],
    )


if __name__ == "__main__":
    main()
