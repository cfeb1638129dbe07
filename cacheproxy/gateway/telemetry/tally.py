"""How the cache answered whom: counts by tenant, model and what came of a call.

A call costs about a fifth of a microsecond here. What was counted is taken away now and then and written to
PostgreSQL (`statistics.py`); the process's own totals, without the tenants, stay for Prometheus.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from cacheproxy.gateway.telemetry.metrics import BoundedNames, Labels

Tier = Literal["memory", "redis", "semantic", "coalesced", "stale", "batch"]
"""Where a hit came from. `batch`: all items of a list, each from memory or Redis."""
Reason = Literal["never_seen", "expired", "evicted", "invalidated", "version", "policy", "client"]
"""Why there was none."""
TIERS: tuple[Tier, ...] = get_args(Tier)
REASONS: tuple[Reason, ...] = get_args(Reason)
MAX_KEYS = 20_000
"""That are told apart between two takings; of more, only the totals are counted."""


class Key(NamedTuple):
    """What counts are kept by."""

    tenant_id: int
    model: str
    result: Tier | Reason


Counts = list[int]
"""Calls; of hits the bytes of their answers, and how old these were in all, in milliseconds."""


class Tally:
    """One per gateway process."""

    def __init__(self, *, max_names: int = 100, max_keys: int = MAX_KEYS) -> None:
        self._names = BoundedNames(max_names)
        self._max_keys = max_keys
        self._counts: dict[tuple[int, str, str], Counts] = {}
        self._totals: dict[tuple[str, str], Counts] = {}

    def hit(self, tenant_id: int, model: str, tier: str, size_bytes: int, age_ms: int) -> None:
        """Count a call that the cache answered."""
        counts = self._counts.get((tenant_id, model, tier)) or self._begin(tenant_id, model, tier)
        counts[0] += 1
        counts[1] += size_bytes
        counts[2] += age_ms

    def missed(self, tenant_id: int, model: str, reason: Reason) -> None:
        """Count a call that it could not answer."""
        counts = self._counts.get((tenant_id, model, reason)) or self._begin(tenant_id, model, reason)
        counts[0] += 1

    def take(self) -> Mapping[Key, Counts]:
        """Return what was counted since this was last called."""
        taken = {Key._make(name): counts for name, counts in self._counts.items()}
        self._counts = {}
        for (_, model, result), counts in taken.items():
            add(self._total(model, result), counts)
        return taken

    def calls(self, results: tuple[str, ...]) -> Mapping[Labels, int]:
        """Return how many calls of each model had each of *results*, since the process began."""
        return self._column(0, results)

    def bytes_given(self) -> Mapping[Labels, int]:
        """Return the bytes of the answers that the cache gave, by model and tier."""
        return self._column(1, TIERS)

    def age_seconds(self) -> Mapping[Labels, int]:
        """Return how old these answers were in all, by model and tier."""
        return {labels: age_ms // 1000 for labels, age_ms in self._column(2, TIERS).items()}

    def _column(self, column: int, results: tuple[str, ...]) -> dict[Labels, int]:
        known: dict[Labels, int] = {
            labels: counts[column] for labels, counts in self._totals.items() if labels[1] in results
        }
        for (_, model, result), counts in self._counts.items():
            if result in results:
                labels: Labels = self._names[model], result
                known[labels] = known.get(labels, 0) + counts[column]
        return known

    def _begin(self, tenant_id: int, model: str, result: str) -> Counts:
        if len(self._counts) >= self._max_keys:
            return self._total(model, result)
        counts = self._counts[tenant_id, model, result] = [0, 0, 0]
        return counts

    def _total(self, model: str, result: str) -> Counts:
        return self._totals.setdefault((self._names[model], result), [0, 0, 0])


def add(counts: Counts, more: Counts) -> None:
    """Add *more* to *counts*."""
    for place, count in enumerate(more):
        counts[place] += count
