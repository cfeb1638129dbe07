"""Provider reports to token pools: one plain function per dialect, exact or refused."""

from typing import NamedTuple

from metering.tokens import TokenPools


class UsageMismatch(ValueError):
    """A provider's report contradicts itself. The message names both numbers and their fields."""


class UsageReport(NamedTuple):
    """What a call used: `output_reasoning` is a detail of `output`, `units` what a metering rule counts."""

    pools: TokenPools = TokenPools()
    output_reasoning: int = 0
    units: int = 0
