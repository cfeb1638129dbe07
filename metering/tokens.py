"""Token pools: the disjoint heaps into which every token of a call falls."""

from typing import NamedTuple

POOLS = ("input", "cache_read", "cache_write", "cache_write_1h", "output")
UNITS = "units"
BILLABLE = (*POOLS, UNITS)

MAX_COUNT = 10**12
"""The most that one event may count in one pool: far above any real call, far below what a bigint sums."""


class TokenPools(NamedTuple):
    """Token counts of one call. No token is in two pools; `output` includes reasoning tokens."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0

    @property
    def given(self) -> int:
        """Return everything that the model was given, cached or not."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def total(self) -> int:
        """Return all tokens, given and produced."""
        return self.given + self.output
