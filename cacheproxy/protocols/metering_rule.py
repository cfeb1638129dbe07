"""Metering rules: what a model's calls count, where the model does not report tokens itself.

A rule names pools (or `units`), each with one measure:

    {"units": {"pointer": "/usage/pages"}}      the count that stands there in the answer
    {"units": {"per_call": 1}}                  so many a call
    {"units": {"per_item": "/instances"}}       one for each item of that list in the request
    {"input": {"per_kib": 1}}                   so many per KiB of the request's body, rounded up
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from cacheproxy.protocols import document
from metering.provider_usage import UsageMismatch, UsageReport, count
from metering.tokens import UNITS, TokenPools

Counted = Literal["input", "cache_read", "cache_write", "cache_write_1h", "output", "units"]
Number = Annotated[int, msgspec.Meta(ge=0, le=10**6)]


class InvalidMeteringRule(ValueError):
    """The rule names an unknown pool or measure, or not exactly one measure for a pool."""


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one pool is counted: exactly one of these."""

    pointer: str | None = None
    per_call: Number | None = None
    per_item: str | None = None
    per_kib: Number | None = None


def check_rule(rule: object) -> dict[Counted, Measure]:
    """Return the rule's measures by pool.

    Raises:
        InvalidMeteringRule: naming the field and what is wrong with it.
    """
    try:
        measures = msgspec.convert(rule, dict[Counted, Measure])
        for pool, measure in measures.items():
            _check_measure(pool, measure)
    except ValueError as problem:
        raise InvalidMeteringRule(f"metering rule: {problem}") from problem
    return measures


def apply_rule(rule: Mapping[str, Any], *, request: Any, answer: Any, body_size: int) -> UsageReport:
    """Return what the rule counts for a parsed request and its answer. `body_size` is in bytes.

    Raises:
        UsageMismatch: the rule is invalid, or what it points to is missing or no count.
    """
    try:
        counts = {
            pool: _counted(pool, measure, request, answer, body_size)
            for pool, measure in check_rule(rule).items()
        }
    except InvalidMeteringRule as problem:
        raise UsageMismatch(str(problem)) from problem
    pools = TokenPools(**{pool: counted for pool, counted in counts.items() if pool != UNITS})
    return UsageReport(pools, units=counts.get("units", 0))


def _check_measure(pool: str, measure: Measure) -> None:
    if sum(value is not None for value in msgspec.structs.astuple(measure)) != 1:
        raise InvalidMeteringRule(f"{pool} needs exactly one of {', '.join(measure.__struct_fields__)}")
    document.steps(measure.pointer or measure.per_item or "")


def _counted(pool: str, measure: Measure, request: Any, answer: Any, body_size: int) -> int:
    if measure.per_call is not None:
        return measure.per_call
    if measure.per_kib is not None:
        return measure.per_kib * -(-body_size // 1024)
    if measure.per_item is not None:
        items = _found(pool, "request", request, measure.per_item)
        if not isinstance(items, list):
            raise UsageMismatch(f"{pool} counts the items at {measure.per_item}, which is no list")
        return len(items)
    assert measure.pointer is not None
    return count(measure.pointer, _found(pool, "answer", answer, measure.pointer))


def _found(pool: str, where: str, holder: Any, pointer: str) -> Any:
    try:
        return document.at(holder, pointer)
    except LookupError:
        raise UsageMismatch(f"{pool} is read at {pointer}, and the {where} has nothing there") from None
