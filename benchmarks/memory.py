"""Is memory flat: a million requests through one gateway, most of them hits, some misses, streams and refusals.

The caches are bounded tightly, so that they are full before the first sample counts. After the warm-up (a fifth of
the requests) every sample must lie within 5 % of their mean. ``--requests`` makes it shorter; only the whole million
answers the question.
"""

import argparse
import contextlib
import json
import statistics
from typing import Any

import matplotlib as mpl
import psutil

from benchmarks import first_token, gateway_hits, gateway_misses
from benchmarks.load import PLACE, load, post
from benchmarks.results import Target, path, progress, report
from benchmarks.stack import add_tenant, running, servers, serving

REQUESTS = 1_000_000
SAMPLE_REQUESTS = 50_000
CONNECTIONS = 32
CACHE_BYTES = 8 << 20
WARM_UP_SHARE = 0.2
TOLERANCE_PERCENT = 5.0
UNKNOWN = json.dumps({"model": f"no-{PLACE.decode()}", "messages": [{"role": "user", "content": "Hi"}]})
MIX = (
    ("hits", 0.90, gateway_hits.BODY, "zerorate;"),
    ("misses", 0.05, gateway_misses.BODY, "fwd=miss"),
    ("streams", 0.02, first_token.BODY, "[DONE]"),
    ("refused", 0.03, UNKNOWN, "404 Not Found"),
)


def main(requests: int = REQUESTS) -> None:
    """Measure, print the table, write the JSON and the plot."""
    with servers() as environment, contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running("benchmarks.upstream", environment=environment))
        key = add_tenant(environment, f"http://127.0.0.1:{upstream.port}/v1")
        bounded = environment | {"MEMORY_CACHE_BYTES": str(CACHE_BYTES)}
        gateway = stack.enter_context(serving("config.gateway:application", bounded))
        process = psutil.Process(gateway.pid)
        rows = []
        sample = min(SAMPLE_REQUESTS, requests // 20)
        for number in progress("memory", range(requests // sample)):
            wrong = _round(gateway.port, key, sample)
            rss_mib = process.memory_info().rss / (1 << 20)
            rows.append({"requests": (number + 1) * sample, "rss_mib": round(rss_mib, 1), "wrong": wrong})
    _report(rows)


def _round(port: int, key: str, requests: int) -> int:
    """Send one sample's requests; return how many were answered otherwise than they should be."""
    wrong = 0
    for _, share, body, expected in MIX:
        request = post(gateway_hits.PATH, key, body)
        count = round(requests * share)
        run = load(port, request, connections=CONNECTIONS, expected=expected, seconds=3600, requests=count)
        wrong += run["wrong"]
    return wrong


def _report(rows: list[dict[str, Any]]) -> None:
    settled = [row["rss_mib"] for row in rows[round(len(rows) * WARM_UP_SHARE) :]]
    mean = statistics.fmean(settled)
    spread_percent = 100 * max(abs(value - mean) for value in settled) / mean
    targets = [Target("wrong answers", sum(row["wrong"] for row in rows), 0, at_most=True)]
    notes = ["mix: " + ", ".join(f"{share:.0%} {name}" for name, share, *_ in MIX)]
    if rows[-1]["requests"] >= REQUESTS:
        targets.append(Target("spread after warm-up, %", spread_percent, TOLERANCE_PERCENT, at_most=True))
    else:
        notes.append(f"too short to judge: the caches may still be filling (spread {spread_percent:.1f} %)")
    title = f"resident memory of one gateway over {rows[-1]['requests']:,} requests"
    report("memory", title, rows, targets, *notes)
    _plot(rows, mean)


def _plot(rows: list[dict[str, Any]], mean: float) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.5))
    axes.plot([row["requests"] for row in rows], [row["rss_mib"] for row in rows], marker="o")
    share = TOLERANCE_PERCENT / 100
    axes.axhspan(mean * (1 - share), mean * (1 + share), alpha=0.15, label=f"mean ± {TOLERANCE_PERCENT:g} %")
    axes.set(xlabel="requests", ylabel="resident memory, MiB", ylim=(0, None))
    axes.legend()
    figure.savefig(path("memory.png"), dpi=120, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    main(parser.parse_args().requests)
