"""Usage, summed: what rating reads instead of single events."""

from typing import NamedTuple

from metering.periods import Period
from metering.tokens import BILLABLE

COUNTS = (*BILLABLE, "output_reasoning")


class UsageSum(NamedTuple):
    """All calls of one model, outcome and quality that occurred within a span; tokens and units as served."""

    span: Period
    model: str
    outcome: str
    quality: str
    calls: int
    quantities: dict[str, int]
    """Billable pool → tokens or units, every pool named."""
