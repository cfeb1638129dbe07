"""A model's cache policy, made ready for calls: conditions and expressions compiled, its tasks resolved. Plain.

Made once, when the catalog is read; a model without tasks costs a call nothing.
"""

import math
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from cacheproxy.policy import Cacheable, CachePolicy, Condition, Sensitive, conditions
from cacheproxy.protocols import document
from cacheproxy.protocols.request import Dialect, InferenceRequest
from cacheproxy.sensitive.expressions import compiled
from cacheproxy.sensitive.screen import Screen

Holds = Callable[[Any], bool]


class Rules(NamedTuple):
    """One policy: a model's, or one of its tasks'."""

    policy: CachePolicy
    reading: bytes = b""
    """Stands in the key for how a request is read and an answer changed: under other rules, it is another question.

    Empty where nothing is left out, rounded or screened.
    """
    screen: Screen | None = None
    chooses: bool = False
    """Whether not every answer that could be kept is."""
    refreshes: bool = False
    """Whether answers are asked for again before a call has to wait for that."""
    note: bytes | None = None
    """What the event of an exact hit says of the rules, as JSON: that inputs were rounded."""

    def take(self, dialect: Dialect, request: InferenceRequest) -> bool:
        """Return whether the answer to a request may be kept, whatever it is."""
        wanted, said = self.policy.cacheable, dialect.visible(request)
        fields = said if isinstance(said, dict) else {}
        if not wanted.tools and (fields.get("tools") or fields.get("functions")):
            return False
        if wanted.max_temperature is None:
            return True
        temperature = _number(fields.get("temperature", dialect.default_temperature))
        return temperature is None or temperature <= wanted.max_temperature

    def keep(self, dialect: Dialect, answer: Any, size: int) -> bool:
        """Return whether an answer, parsed and complete and of so many bytes, may be kept."""
        wanted = self.policy.cacheable
        if wanted.max_bytes is not None and size > wanted.max_bytes:
            return False
        return wanted.finish_reasons is None or set(dialect.endings(answer)) <= set(wanted.finish_reasons)

    @property
    def masks(self) -> bool:
        """Whether answers are kept with what is sensitive blotted out, rather than not at all."""
        return self.policy.sensitive is not None and self.policy.sensitive.action == "mask"


class ModelRules:
    """The rules of a model and of its tasks. Equal if they were made from equal policies."""

    def __init__(self, policy: CachePolicy) -> None:
        self.policy = policy
        self.base = _rules(policy, "")
        self.tasks = [
            (tuple(map(_holds, conditions(task))), _rules(policy.of_task(task), task.name))
            for task in policy.tasks
        ]
        stated = [rules.policy.semantic for rules in (self.base, *(rules for _, rules in self.tasks))]
        self.semantics = tuple(semantic for semantic in stated if semantic is not None)
        """Under what a question in other words may have an answer, where it may at all."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelRules) and self.policy == other.policy

    __hash__ = None  # type: ignore[assignment]

    def of(self, visible: Any) -> Rules:
        """Return the rules for a request, which *visible* is, as its dialect lets it be seen."""
        for hold, rules in self.tasks:
            if all(holds(visible) for holds in hold):
                return rules
        return self.base


def _rules(policy: CachePolicy, task: str) -> Rules:
    reads = (task, policy.volatile_fields, policy.round_digits, policy.file_field, policy.sensitive)
    says_nothing = reads == ("", (), None, None, None)
    return Rules(
        policy,
        b"" if says_nothing else sha256(msgspec.json.encode(reads, order="sorted")).digest(),
        None if policy.sensitive is None else _screen(policy.sensitive),
        policy.cacheable != Cacheable() or policy.sensitive is not None,
        policy.refreshes,
        None if policy.round_digits is None else msgspec.json.encode({"round_digits": policy.round_digits}),
    )


def _number(value: Any) -> float | None:
    """Return a number, or the last one of a form's field; infinity for what is none, which is below no bound."""
    last = value[-1] if isinstance(value, list) and value else value
    try:
        return None if last is None else float(last)
    except (TypeError, ValueError):
        return math.inf


def _screen(sensitive: Sensitive) -> Screen:
    return Screen(sensitive.detect, sensitive.patterns, within=sensitive.within, fields=sensitive.fields)


def _holds(condition: Condition) -> Holds:
    path = condition.path
    if condition.exists is not None:
        return lambda visible: any(True for _ in document.found(visible, path)) is condition.exists
    if condition.matches is not None:
        search = compiled(condition.matches).search
        return lambda visible: any(
            isinstance(text, str) and search(text) is not None for text in document.found(visible, path)
        )
    return lambda visible: any(_equal(value, condition.equals) for value in document.found(visible, path))


def _equal(value: Any, wanted: Any) -> bool:
    """Return whether two JSON values are the same: 1 and 1.0 are, 1 and true are not."""
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)
