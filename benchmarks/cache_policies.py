"""Which answers stay in memory: hit rates of the memory tier's policies against the best that was possible.

Four traces of 120,000 requests, each from a seed, through the memory tier itself: questions by Zipf's law; the same
with popularity that moves on; the same with a batch job in between that asks ever new ones; and a job that asks
the same list over and over, longer than the cache. The bound is Belady's: whoever will be asked for last goes, and is
not let in where it is itself the one; no policy that does not see the future comes beyond it.

``--docs`` draws the plot into ``docs/images`` too.
"""

import argparse
import heapq
import itertools
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl

from benchmarks.results import IMAGES, Target, path, progress, report
from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.eviction import PolicyName
from cacheproxy.cache.memory import MemoryCache
from metering.tokens import TokenPools

REQUESTS = 120_000
KEYS = 40_000
EXPONENT = 0.9
"""Of Zipf's law; caches of the web are found between 0.6 and 1."""
CAPACITIES = (250, 500, 1_000, 2_000, 4_000, 8_000)
JUDGED_AT = 2_000
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
BOUND = "Belady"
BEST_KNOWN = "w-tinylfu"
PICTURE = "cache-policies.svg"

Trace = list[int]
ANSWER = StoredAnswer(
    body=b"{}",
    source_event=uuid.UUID(int=0),
    stored_at_ms=0,
    expires_at_ms=1 << 50,
    pools=TokenPools(),
    output_reasoning=0,
    units=0,
    quality="reported",
)


def zipf(seed: int = 1) -> Trace:
    """Return questions by Zipf's law."""
    dice = random.Random(seed)
    weights = list(itertools.accumulate(rank**-EXPONENT for rank in range(1, KEYS + 1)))
    return dice.choices(range(KEYS), cum_weights=weights, k=REQUESTS)


def shifting() -> Trace:
    """Return the same, with a tenth of the ranks handed to other questions every 20,000 requests."""
    dice, question_of_rank = random.Random(2), list(range(KEYS))
    trace: Trace = []
    for number, rank in enumerate(zipf(3)):
        if number % 20_000 == 0:
            moved = dice.sample(range(KEYS), KEYS // 10) + dice.sample(range(1_000), 100)
            for one, other in itertools.pairwise(dict.fromkeys(moved)):
                question_of_rank[one], question_of_rank[other] = (
                    question_of_rank[other],
                    question_of_rank[one],
                )
        trace.append(question_of_rank[rank])
    return trace


def with_scans() -> Trace:
    """Return questions by Zipf's law, with runs of 10,000 new ones, a third of all, in between."""
    trace: Trace = []
    new, questions = itertools.count(KEYS), iter(zipf(4))
    while len(trace) < REQUESTS:
        trace += [*itertools.islice(questions, 20_000), *itertools.islice(new, 10_000)]
    return trace[:REQUESTS]


def scan() -> Trace:
    """Return a list of 12,000 questions, over and over."""
    return [number % 12_000 for number in range(REQUESTS)]


TRACES: dict[str, Callable[[], Trace]] = {
    "Zipf": zipf,
    "Zipf, shifting": shifting,
    "Zipf and scans": with_scans,
    "repeated scan": scan,
}


def hit_percent(policy: PolicyName, trace: Trace, capacity: int) -> float:
    """Return the share of *trace* that the memory tier answers with *policy* and room for *capacity* answers."""
    cache = MemoryCache(1 << 40, max_entries=capacity, policy=policy)
    keys = [b"k1:%d" % question for question in range(max(trace) + 1)]
    for question in trace:
        key = keys[question]
        if cache.get(key, 0) is None:
            cache.put(key, ANSWER)
    return 100 * cache.hits / len(trace)


def best_percent(trace: Trace, capacity: int) -> float:
    """Return the share of *trace* that a cache could answer at best."""
    kept: dict[int, int] = {}  # question → when it will be asked next
    last_first: list[tuple[int, int]] = []
    hits = 0
    for question, next_at in zip(trace, _next_uses(trace), strict=True):
        hits += kept.pop(question, None) is not None
        kept[question] = next_at
        heapq.heappush(last_first, (-next_at, question))
        while len(kept) > capacity:
            asked_at, gone = heapq.heappop(last_first)
            if kept.get(gone) == -asked_at:
                del kept[gone]
    return 100 * hits / len(trace)


def _next_uses(trace: Trace) -> list[int]:
    """Return for each request when its question comes again; never is later than all, and never the same twice."""
    seen: dict[int, int] = {}
    next_uses = [0] * len(trace)
    for place in range(len(trace) - 1, -1, -1):
        next_uses[place] = seen.get(trace[place], 2 * len(trace) + place)
        seen[trace[place]] = place
    return next_uses


def hit_ns(policy: PolicyName) -> int:
    """Return what a hit costs."""
    cache = MemoryCache(1 << 40, policy=policy)
    keys = [b"k1:%064d" % number for number in range(1_000)]
    for key in keys:
        cache.put(key, ANSWER)
    return min(_round_ns(cache, keys) for _ in range(100))


def _round_ns(cache: MemoryCache, keys: list[bytes]) -> int:
    started_ns = time.perf_counter_ns()
    for key in keys:
        cache.get(key, 0)
    return (time.perf_counter_ns() - started_ns) // len(keys)


def _rows(name: str, trace: Trace) -> Iterator[dict[str, Any]]:
    for capacity in CAPACITIES:
        rates = {policy: round(hit_percent(policy, trace, capacity), 1) for policy in POLICIES}
        yield (
            {"trace": name, "answers kept": capacity}
            | rates
            | {BOUND: round(best_percent(trace, capacity), 1)}
        )


def main(*, docs: bool = False) -> None:
    """Measure, print the table, write the JSON and the plot."""
    rows = [row for name in progress("cache_policies", TRACES) for row in _rows(name, TRACES[name]())]
    targets = [
        Target(
            f"{name}, {JUDGED_AT:,} kept: {BEST_KNOWN} over lru, points",
            row[BEST_KNOWN] - row["lru"],
            0,
        )
        for name in TRACES
        for row in rows
        if (row["trace"], row["answers kept"]) == (name, JUDGED_AT)
    ]
    costs = ", ".join(f"{policy} {hit_ns(policy)} ns" for policy in POLICIES)
    report("cache_policies", "hit rate, %", rows, targets, f"a hit costs: {costs}")
    _plot(rows, [path(PICTURE), *([IMAGES / PICTURE] if docs else [])])


def _plot(rows: list[dict[str, Any]], targets: list[Path]) -> None:
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = PICTURE  # the same picture from the same numbers
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(TRACES), figsize=(14, 3.6), sharex=True)
    for name, axes in zip(TRACES, panels, strict=True):
        shown = [row for row in rows if row["trace"] == name]
        for policy in (*POLICIES, BOUND):
            style = {"color": "grey", "linestyle": "--"} if policy == BOUND else {"marker": "."}
            axes.plot(
                [row["answers kept"] for row in shown], [row[policy] for row in shown], label=policy, **style
            )
        axes.set(title=name, xscale="log", xlabel="answers kept", ylim=(0, None))
    panels[0].set_ylabel("hit rate, %")
    panels[0].legend()
    figure.tight_layout()
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true", help="keep the plot with the documentation")
    main(docs=parser.parse_args().docs)
