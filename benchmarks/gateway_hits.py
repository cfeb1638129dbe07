"""How fast is a hit: one gateway process, durable events, answers from memory, against a bare ASGI handler.

Both run under uvicorn (uvloop, httptools), one process each, and are loaded in turns, so that a noisy machine is
as noisy to both. The targets: at least 0.4 of the bare handler's throughput at 64 connections, and a median
under 1.5 ms at one.
"""

import json
import statistics
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg

from benchmarks.bare import ANSWER
from benchmarks.stack import HOME, ROOT, add_tenant, servers, serving

CONNECTIONS = (1, 16, 64)
ROUNDS = 3
SECONDS = 3.0
TARGET_SHARE = 0.4
TARGET_P50_US = 1500
BODY = json.dumps(
    {"model": "qwen-small", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
)


class Upstream(BaseHTTPRequestHandler):
    """Answers the one miss."""

    def do_POST(self) -> None:
        """Answer any call."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Measure, print the table, write the JSON."""
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with servers() as environment:
        key = add_tenant(environment, f"http://127.0.0.1:{upstream.server_port}/v1")
        with (
            serving("benchmarks.bare:application", environment) as bare_port,
            serving("config.gateway:application", environment) as gateway_port,
        ):
            _prime(gateway_port, key)
            results = _measure(bare_port, gateway_port, key)
        recorded = _recorded(environment["DATABASE_URL"])
    upstream.shutdown()
    report = _report(results, recorded)
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "gateway_hits.json").write_text(json.dumps(report, indent=2))
    _print(report)


def _prime(port: int, key: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", BODY.encode(), {"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as response:
        response.read()


def _measure(bare_port: int, gateway_port: int, key: str) -> dict[str, dict[int, list[dict[str, Any]]]]:
    results: dict[str, dict[int, list[dict[str, Any]]]] = {
        "bare": defaultdict(list),
        "gateway": defaultdict(list),
    }
    for _ in range(ROUNDS):
        for connections in CONNECTIONS:
            results["bare"][connections].append(_load(bare_port, key, connections, expected="200 OK"))
            results["gateway"][connections].append(
                _load(gateway_port, key, connections, expected="zerorate; hit;")
            )
    return results


def _load(port: int, key: str, connections: int, *, expected: str) -> dict[str, Any]:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    )
    plan = {
        "host": "127.0.0.1",
        "port": port,
        "request": head + BODY,
        "expected": expected,
        "connections": connections,
        "seconds": SECONDS,
    }
    command = [sys.executable, "-m", "benchmarks.load"]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(plan), text=True, capture_output=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _recorded(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM metering_usageevent").fetchone()
        assert row is not None
        return int(row[0])


def _report(results: dict[str, dict[int, list[dict[str, Any]]]], recorded: int) -> dict[str, Any]:
    rows = [
        {
            "connections": connections,
            "bare_rps": _median(results["bare"][connections], "requests_per_second"),
            "gateway_rps": _median(results["gateway"][connections], "requests_per_second"),
            "bare_p50_us": _median(results["bare"][connections], "p50_us"),
            "gateway_p50_us": _median(results["gateway"][connections], "p50_us"),
            "gateway_p99_us": _median(results["gateway"][connections], "p99_us"),
            "wrong": sum(run["wrong"] for run in results["gateway"][connections]),
        }
        for connections in CONNECTIONS
    ]
    for row in rows:
        row["share"] = round(row["gateway_rps"] / row["bare_rps"], 3)
    answered = sum(run["requests"] for runs in results["gateway"].values() for run in runs)
    return {"rows": rows, "answered": answered, "recorded": recorded}


def _median(runs: list[dict[str, Any]], name: str) -> int:
    return int(statistics.median(run[name] for run in runs))


COLUMNS = (
    "connections",
    "bare_rps",
    "gateway_rps",
    "share",
    "bare_p50_us",
    "gateway_p50_us",
    "gateway_p99_us",
    "wrong",
)


def _print(report: dict[str, Any]) -> None:
    print("gateway_hits: durable events, memory hits; uvicorn, uvloop, httptools; one process")
    print(" ".join(f"{name:>14}" for name in COLUMNS))
    for row in report["rows"]:
        print(" ".join(f"{row[name]:>14,}" for name in COLUMNS))
    print(f"events recorded: {report['recorded']:,}, answers counted: {report['answered']:,}")
    print("(calls under way when a round ends are recorded, not counted)")
    share, p50_us = report["rows"][-1]["share"], report["rows"][0]["gateway_p50_us"]
    print(
        f"share at 64 connections: {share:.2f}, target at least {TARGET_SHARE}: {_verdict(share >= TARGET_SHARE)}"
    )
    print(
        f"p50 at 1 connection: {p50_us:,} µs, target under {TARGET_P50_US:,}: {_verdict(p50_us < TARGET_P50_US)}"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    main()
