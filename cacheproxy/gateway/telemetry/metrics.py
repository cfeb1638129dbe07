"""What the gateway counts of itself, for its operator.

Plain integers in dicts and lists, written by one event loop: a call costs about half a microsecond here. Labels
are few and bounded: never a tenant or a key, and of models and upstreams only so many names, the rest as `other`.
Times are kept as whole microseconds in fixed, log-spaced buckets; `exposition.py` turns all of it into
Prometheus' format, and adds up the processes that serve one port.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import msgspec

from metering.tokens import TokenPools

OTHER = "other"
TIMES_US = tuple(step * 10**power for power in range(1, 8) for step in (2, 5, 10))
"""20 µs, 50 µs, 100 µs, … 100 s: upper bounds, inclusive."""
SIZES = tuple(2**power for power in range(15))
MICROSECONDS = 1_000_000
MILLION = 1_000_000


class Family(NamedTuple):
    """One metric: what it is, what it says, and its labels' names. Histograms have upper bounds and a unit."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[int, ...] = ()
    per_unit: int = 1
    """How many of what is kept make one of what is shown."""


def _times(says: str, *labels: str) -> Family:
    return Family("histogram", says, labels, TIMES_US, MICROSECONDS)


FAMILIES: Mapping[str, Family] = {
    "requests": Family(
        "counter", "Calls that ended.", ("surface", "model", "outcome", "status")
    ),
    "refusals": Family("counter", "Errors of our own by code, limits and budgets among them.", ("code",)),
    "request_duration_seconds": _times("From a call's arrival to its last byte, by outcome.", "outcome"),
    "added_duration_seconds": _times("The part of a miss that was not the upstream's."),
    "time_to_first_token_seconds": _times("From a streamed miss's arrival to its first byte back."),
    "upstream_duration_seconds": _times("From a call to an upstream to the end of its answer.", "upstream"),
    "upstream_failures": Family("counter", "Calls to an upstream that failed.", ("upstream", "code")),
    "upstream_breaker_state": Family("gauge", "0 closed, 1 half open, 2 open.", ("upstream",)),
    "upstream_calls_under_way": Family("gauge", "Calls to an upstream under way.", ("upstream",)),
    "upstream_calls_repeated": Family("counter", "Calls sent once more, to another target or the same."),
    "recorder_batch_events": Family("histogram", "Usage events in one commit.", (), SIZES),
    "recorder_commit_seconds": _times("How long one commit took."),
    "recorder_waiting_events": Family("gauge", "Usage events that wait for their commit."),
    "recorder_spooled_events": Family("counter", "Usage events that went to the spool."),
    "recorder_withheld_events": Family("counter", "Usage events that nothing could keep: their answers were withheld."),
    "spool_batches": Family("gauge", "Batches in the spool, at the last look."),
    "background_calls": Family(
        "counter", "Calls to upstreams that no client waits for, by what came of them.", ("model", "purpose", "end")
    ),
    "background_tokens": Family("counter", "Tokens that these took, billed to nobody.", ("model", "purpose", "pool")),
    "cache_hits": Family("counter", "Calls that the cache answered.", ("model", "tier")),
    "cache_misses": Family("counter", "Calls that it could not answer, by why.", ("model", "reason")),
    "cache_given_bytes": Family("counter", "Bytes of the answers that it gave.", ("model", "tier")),
    "cache_given_age_seconds": Family("counter", "How old these answers were, in all.", ("model", "tier")),
    "semantic_findings": Family(
        "counter", "Questions looked for in other words, by what came of it.", ("model", "reason")
    ),
    "semantic_checks": Family(
        "counter", "Kept answers compared with the upstream's own: same, wrong, unknown; dropped: not asked for.",
        ("model", "result"),
    ),
    "semantic_wrong_ratio": Family(
        "gauge", "The share of semantic hits that is wrong at most, as their error budget reckons.", ("model",),
        per_unit=MILLION,
    ),
    "semantic_tolerated_ratio": Family(
        "gauge", "The share of semantic hits that may be wrong.", ("model",), per_unit=MILLION
    ),
    "semantic_shut_off": Family("gauge", "1 where the error budget lets no semantic hit be served.", ("model",)),
    "semantic_wrong_hits_waiting": Family("gauge", "Hits proven wrong that neither Redis nor PostgreSQL has as yet."),
    "semantic_wrong_hits_spooled": Family("gauge", "Batches of hits proven wrong in their spool, at the last look."),
    "semantic_wrong_hits_lost": Family("counter", "Hits proven wrong that nothing credits by itself."),
    "semantic_forgotten_questions": Family("counter", "Questions that could not be kept to be found in other words."),
    "memory_cache_bytes": Family("gauge", "Bytes of answers in memory."),
    "memory_cache_entries": Family("gauge", "Answers in memory."),
    "memory_cache_departures": Family("counter", "Answers that left memory, by why.", ("reason",)),
    "memory_cache_misses": Family("counter", "Look-ups in memory without a fresh answer, by why.", ("reason",)),
    "redis_failures": Family("counter", "Commands to Redis that failed or came too late."),
    "redis_damaged_answers": Family("counter", "Stored answers that were not as they had been written."),
    "redis_foreign_answers": Family("counter", "Stored answers of another version, or sealed with unknown keys."),
    "redis_breaker_state": Family("gauge", "0 closed, 1 half open, 2 open: Redis is left alone for being slow."),
    "redis_breaker_openings": Family("counter", "How often Redis was left alone."),
    "limit_fallbacks": Family("counter", "Decisions on limits made without Redis."),
    "limit_settlements_left": Family("counter", "What calls used that Redis was never told; the sweep tells it."),
    "open_streams": Family("gauge", "Streams on their way to clients."),
    "coalesced_followers": Family("gauge", "Calls that wait for another's answer."),
    "client_disconnects": Family("counter", "Clients that hung up before their answer's end."),
    "event_loop_lag_seconds": _times("How much later than asked for the event loop woke a task."),
    "process_resident_memory_bytes": Family("gauge", "Memory of the process."),
    "process_open_fds": Family("gauge", "Open file descriptors."),
}  # fmt: skip


Labels = tuple[str, ...]
Value = int | list[int]
"""A number; of a histogram its buckets, the one past the last bound, and the sum."""
Readings = int | Mapping[str, int] | Mapping[Labels, int]
Reading = Callable[[], Readings]


class Snapshot(msgspec.Struct):
    """All numbers of one process at one instant: family → [(labels, value)]."""

    pid: int
    families: dict[str, list[tuple[Labels, Value]]]


class BoundedNames(dict[str, str]):
    """Names as they may stand in a label: each as itself while there is room, then `other`."""

    def __init__(self, room: int) -> None:
        self._room = room

    def __missing__(self, name: str) -> str:
        """Take *name* in, if there is room."""
        if len(self) >= self._room:
            return OTHER
        self[name] = name
        return name


class Histogram(dict[str, list[int]]):
    """Label → buckets, the one past the last bound, and the sum."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds

    def __missing__(self, label: str) -> list[int]:
        """Begin a series."""
        series = self[label] = [0] * (len(self.bounds) + 2)
        return series

    def observe(self, value: int, label: str = "") -> None:
        """Count *value* in."""
        series = self[label]
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value


class Metrics:
    """One per gateway process; one method per thing that happens. None of them waits or raises."""

    def __init__(self, *, max_names: int = 100) -> None:
        self._model = BoundedNames(max_names)
        self._upstream = BoundedNames(max_names)
        self._requests: dict[tuple[str, str, str, int], int] = defaultdict(int)
        self._counts: dict[tuple[str, Labels], int] = defaultdict(int)
        self._histograms = {
            name: Histogram(family.bounds) for name, family in FAMILIES.items() if family.bounds
        }
        self._durations = self._histograms["request_duration_seconds"]
        self._readings: dict[str, Reading] = {}
        self.open_streams = 0
        self.coalesced_followers = 0
        self.read("open_streams", lambda: self.open_streams)
        self.read("coalesced_followers", lambda: self.coalesced_followers)

    def call_ended(self, surface: str, model: str, outcome: str, status: int, elapsed_us: int) -> None:
        """Count a call that is over. *outcome* is its event's, else `replayed`, `refused` or `unmetered`."""
        self._requests[surface, self._model[model], outcome, status // 100] += 1
        self._durations.observe(elapsed_us, outcome)

    def call_refused(self, code: str) -> None:
        """Count an error of our own, beside the `call_ended` of the call that it ended."""
        self._counts["refusals", (code,)] += 1

    def upstream_answered(self, upstream: str, upstream_us: int) -> None:
        """Count a call to an upstream that was answered to its end."""
        self._histograms["upstream_duration_seconds"].observe(upstream_us, self._upstream[upstream])

    def upstream_failed(self, upstream: str, code: str) -> None:
        """Count a call to an upstream that failed with our error *code*."""
        self._counts["upstream_failures", (self._upstream[upstream], code)] += 1

    def added(self, added_us: int) -> None:
        """Count what a miss took beyond its upstream."""
        self._histograms["added_duration_seconds"].observe(added_us)

    def first_token(self, elapsed_us: int) -> None:
        """Count the first byte of a streamed miss on its way to the client."""
        self._histograms["time_to_first_token_seconds"].observe(elapsed_us)

    def batch_committed(self, events: int, commit_us: int) -> None:
        """Count a batch of usage events that PostgreSQL has."""
        self._histograms["recorder_batch_events"].observe(events)
        self._histograms["recorder_commit_seconds"].observe(commit_us)

    def batch_spooled(self, events: int) -> None:
        """Count a batch of usage events that the spool has."""
        self._counts["recorder_spooled_events", ()] += events

    def batch_withheld(self, events: int) -> None:
        """Count a batch of usage events that nothing could keep."""
        self._counts["recorder_withheld_events", ()] += events

    def background_ended(self, model: str, purpose: str, end: str) -> None:
        """Count what came of a call that no client waits for."""
        self._counts["background_calls", (self._model[model], purpose, end)] += 1

    def background_took(self, model: str, purpose: str, pools: TokenPools) -> None:
        """Count the tokens of a call that no client waits for."""
        for pool, tokens in zip(pools._fields, pools, strict=True):
            if tokens:
                self._counts["background_tokens", (self._model[model], purpose, pool)] += tokens

    def semantic_checked(self, model: str, result: str) -> None:
        """Count a comparison of a kept answer with the upstream's own."""
        self._counts["semantic_checks", (self._model[model], result)] += 1

    def semantically_sought(self, model: str, reason: str) -> None:
        """Count a question that was looked for in other words, by what came of it."""
        self._counts["semantic_findings", (self._model[model], reason)] += 1

    def client_hung_up(self) -> None:
        """Count a client that was gone before its answer's end."""
        self._counts["client_disconnects", ()] += 1

    def loop_lagged(self, lag_us: int) -> None:
        """Count one measurement of the event loop's lag."""
        self._histograms["event_loop_lag_seconds"].observe(lag_us)

    def read(self, family: str, reading: Reading) -> None:
        """Ask *reading* for *family* whenever the numbers are wanted: one number, or one per label."""
        self._readings[family] = reading

    def snapshot(self, pid: int) -> Snapshot:
        """Return all numbers as they are."""
        families: dict[str, list[tuple[Labels, Value]]] = {
            name: [((label,) if FAMILIES[name].labels else (), list(series)) for label, series in histogram.items()]
            for name, histogram in self._histograms.items()
        }  # fmt: skip
        families["requests"] = [
            ((surface, model, outcome, f"{hundreds}xx"), count)
            for (surface, model, outcome, hundreds), count in self._requests.items()
        ]
        for (name, labels), count in self._counts.items():
            families.setdefault(name, []).append((labels, count))
        for name, reading in self._readings.items():
            families[name] = self._labelled(name, reading())
        return Snapshot(pid, families)

    def _labelled(self, name: str, value: Readings) -> list[tuple[Labels, Value]]:
        if isinstance(value, int):
            return [((), value)]
        if FAMILIES[name].labels != ("upstream",):
            return [
                ((label,) if isinstance(label, str) else label, number) for label, number in value.items()
            ]
        largest: dict[str, int] = {}
        for upstream, number in value.items():
            assert isinstance(upstream, str)
            label = self._upstream[upstream]
            largest[label] = max(number, largest.get(label, number))
        return [((label,), number) for label, number in largest.items()]
