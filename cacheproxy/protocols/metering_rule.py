"""Metering rules: what a model's calls count, where the model does not report tokens itself.

{"units": {"pointer": "/usage/pages"}}      the count that stands there in the answer
{"units": {"per_call": 1}}                  so many a call
{"units": {"per_item": "/instances"}}       one for each item of that list in the request
{"input": {"per_kib": 1}}                   so many per KiB of the request's body, rounded up
"""

from collections.abc import Mapping
from typing import Any

from cacheproxy.policy import MeteringRule, PolicyError, parse_metering_rules
from cacheproxy.protocols import document
from metering.provider_usage import UsageMismatch, UsageReport, count
from metering.tokens import UNITS, TokenPools


def apply_rules(metering: Mapping[str, Any], *, request: Any, answer: Any, body_size: int) -> UsageReport:
    """Return what the rules count for a parsed request and its answer. `body_size` is in bytes.

    Raises:
        UsageMismatch: a rule is invalid, or what it points to is missing or no count.
    """
    try:
        rules = parse_metering_rules(metering)
    except PolicyError as problem:
        raise UsageMismatch(str(problem)) from problem
    counts = {pool: _counted(pool, rule, request, answer, body_size) for pool, rule in rules.items()}
    units = counts.pop(UNITS, 0)
    return UsageReport(TokenPools(**counts), units=units)


def _counted(pool: str, rule: MeteringRule, request: Any, answer: Any, body_size: int) -> int:
    if rule.per_call is not None:
        return rule.per_call
    if rule.per_kib is not None:
        return rule.per_kib * -(-body_size // 1024)
    if rule.per_item is not None:
        items = _found(pool, "request", request, rule.per_item)
        if not isinstance(items, list):
            raise UsageMismatch(f"{pool} counts the items at {rule.per_item}, which is no list")
        return len(items)
    assert rule.pointer is not None
    return count(rule.pointer, _found(pool, "answer", answer, rule.pointer))


def _found(pool: str, where: str, holder: Any, pointer: str) -> Any:
    try:
        return document.at(holder, pointer)
    except LookupError:
        raise UsageMismatch(f"{pool} is read at {pointer}, and the {where} has nothing there") from None
