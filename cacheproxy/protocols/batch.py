"""What all batches share: bounds, and how one report is divided among the items that it is of.

Every item is keyed with all that the request says beside it, so a long query over many documents is read once
for each of them: beyond `MAX_REPEATED_BYTES` a request is not taken apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from billing.money import allocate
from cacheproxy.protocols import document

MAX_ITEMS = 2048
MAX_REPEATED_BYTES = 16 * 1024 * 1024


def may_be_taken_apart(shared: Mapping[str, Any], items: int) -> bool:
    """Return whether so many items, each beside what they share, can be keyed one by one at a bearable cost."""
    return items <= MAX_ITEMS and items * len(document.write(shared)) <= MAX_REPEATED_BYTES


def divided(report: Any, weights: Sequence[int]) -> list[Any]:
    """Return each item's share of a report: every count in it divided, all else repeated.

    Divided as the gateway divides the pools, so that an answer says what its event says.
    """
    if type(report) is int:
        return allocate(report, weights)
    if not isinstance(report, dict):
        return [report] * len(weights)
    columns = {field: divided(value, weights) for field, value in report.items()}
    return [{field: column[place] for field, column in columns.items()} for place in range(len(weights))]


def summed(reports: Sequence[Any]) -> Any:
    """Return the whole of which these are the shares; what is no count is taken from the first."""
    if all(type(report) is int for report in reports):
        return sum(reports)
    if not all(isinstance(report, dict) for report in reports):
        return reports[0]
    return {field: summed([report.get(field, 0) for report in reports]) for field in reports[0]}


def in_order(items: Any, count: int) -> list[dict[str, Any]]:
    """Return a list of objects by their `index`, or as they come where none has one.

    Raises:
        ValueError: they are not one for each index from 0 up to the count.
    """
    if (
        not isinstance(items, list)
        or len(items) != count
        or not all(isinstance(item, dict) for item in items)
    ):
        raise ValueError(f"the answer has no list of {count} objects")
    indexes = [item.get("index", place) for place, item in enumerate(items)]
    if not all(type(index) is int for index in indexes) or sorted(indexes) != list(range(count)):
        raise ValueError(f"the answer's indexes are not those of {count} items")
    return [item for _, item in sorted(zip(indexes, items, strict=True), key=lambda pair: pair[0])]
