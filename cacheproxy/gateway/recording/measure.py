"""From an answer to what it used."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from cacheproxy.protocols.request import Dialect, InferenceRequest
from metering.provider_usage import UsageMismatch, UsageReport
from metering.tokens import MAX_COUNT, TokenPools

MAX_RAW_USAGE_BYTES = 16_384
Quality = Literal["reported", "estimated", "suspect"]


class Measured(NamedTuple):
    """What a call used, and how we know."""

    pools: TokenPools
    output_reasoning: int
    units: int
    quality: Quality
    raw_usage: bytes | None = None


def measure(
    dialect: Dialect, request: InferenceRequest, answer: Any, metering: Mapping[str, Any], body_size: int
) -> Measured:
    """Return the usage that *answer* reports; estimated where it reports none, suspect where that makes no sense.

    A suspect report counts nothing and is kept as it came, for an operator to decide on.
    """
    raw_usage = _raw_usage(answer)
    try:
        report = dialect.usage(request, answer, metering, body_size)
    except UsageMismatch:
        return Measured(TokenPools(), 0, 0, "suspect", raw_usage)
    if report is None:
        return _measured(dialect.estimate(request, answer), "estimated", raw_usage)
    if max(*report.pools, report.output_reasoning, report.units) > MAX_COUNT:
        return Measured(TokenPools(), 0, 0, "suspect", raw_usage)
    return _measured(report, "reported", raw_usage)


def _measured(report: UsageReport, quality: Quality, raw_usage: bytes | None) -> Measured:
    return Measured(report.pools, report.output_reasoning, report.units, quality, raw_usage)


def _raw_usage(answer: Any) -> bytes | None:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    text = msgspec.json.encode(usage).replace(rb"\u0000", rb"\ufffd")  # PostgreSQL's jsonb has no NUL
    return text if len(text) <= MAX_RAW_USAGE_BYTES else None
