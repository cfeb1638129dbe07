"""How a model is cached and metered, as the catalog states it: for the gateway, ``apply`` and the admin. Plain."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from cacheproxy.sensitive.detectors import Kind
from cacheproxy.sensitive.expressions import ExpressionError, compiled
from metering.tokens import BILLABLE

DAY_SECONDS = 86_400
YEAR_SECONDS = 366 * DAY_SECONDS
STALE_SECONDS = 30 * DAY_SECONDS
Pointer = Annotated[str, msgspec.Meta(pattern=r"^(/([^~]|~0|~1)*)+$")]
MAX_TAGS = 16
MAX_TAG_BYTES = 128
Tag = Annotated[str, msgspec.Meta(pattern=r"^[!-+\--~]+$", max_length=MAX_TAG_BYTES)]
"""Visible ASCII without a comma: what a header can list."""
Path = Pointer
"""A pointer in which the step `*` stands for every item and every field, as in `/messages/*/name`."""
Expression = str
"""A regular expression as RE2 takes it; at most 1000 characters."""
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
POOL_NAME = "^[a-z0-9][a-z0-9_-]*"
PoolName = Annotated[str, msgspec.Meta(pattern=rf"{POOL_NAME}$", max_length=63)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class PolicyError(ValueError):
    """A policy is not valid; the message names the field and the remedy."""


class Semantic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a reworded request may share an answer. Kept for the semantic tier; exact hits do not need it."""

    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """The verifier's score from which on hits are open before any check; None: as its calibration says."""
    error_budget: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.01
    """Of the calls that look for a reworded question, the share that may get a wrong answer."""
    wrong_of_hits: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05
    """Of the semantic hits, the share that may be wrong, however few they are."""
    trust: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 20.0
    """What the verifier's calibration counts for before there are checks; 0: hits must be proved first."""
    encoder: str | None = None
    """A model of the catalog whose embeddings are searched; None: the local one."""


class Cacheable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls have answers that may be kept; the others bypass the cache."""

    max_temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Of the request; one that is sampled and names none counts as 1, which is the providers' default."""
    tools: bool = True
    """Whether a request may offer tools."""
    finish_reasons: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    """Why every part of an answer must have ended, in the provider's words, as `stop` or `end_turn`."""
    max_bytes: AtLeastOne | None = None
    """Of the answer's body."""


class Sensitive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must not be kept."""

    action: Literal["no_store", "mask"] = "no_store"
    """Keep and share nothing that has it, in request or answer; or keep the answer with it blotted out."""
    detect: tuple[Kind, ...] = ()
    patterns: Annotated[dict[Name, Expression], msgspec.Meta(max_length=32)] = {}
    """By names of the operator's own."""
    within: tuple[Path, ...] = ()
    """Where in an answer it is looked for; empty: everywhere."""
    fields: tuple[Path, ...] = ()
    """Where in an answer everything is sensitive."""


class Negative(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which refusals of an upstream are given again without asking it. Nobody ever pays for one."""

    ttl_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 30
    statuses: tuple[Literal[400, 404, 405, 413, 415, 422], ...] = (400, 404, 405, 413, 415, 422)
    """Those that depend on the request alone."""


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request says somewhere: exactly one of the three."""

    path: Path
    equals: str | int | float | bool | None = None
    matches: Expression | None = None
    """A text in which the expression is found."""
    exists: bool | None = None


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the uses of a model: the requests that it takes in, and what of the policy is different for them."""

    name: Name
    when: Condition | Annotated[tuple[Condition, ...], msgspec.Meta(min_length=1)]
    """All must hold."""
    policy: dict[str, Any]
    """Fields of the model's policy, each in place of the model's own."""


class CachePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers of a model are kept."""

    enabled: bool = True
    ttl_seconds: Annotated[int, msgspec.Meta(ge=1, le=YEAR_SECONDS)] = DAY_SECONDS
    stale_if_error_seconds: Annotated[int, msgspec.Meta(ge=0, le=STALE_SECONDS)] = 0
    """How long after its end an answer may stand in for an upstream that fails (RFC 5861)."""
    early_refresh: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0
    """How early an answer is asked for again while calls still get it: XFetch's beta, 1 as a rule; 0: never."""
    stale_while_revalidate_seconds: Annotated[int, msgspec.Meta(ge=0, le=STALE_SECONDS)] = 0
    """How long after its end an answer is given while it is asked for again (RFC 5861)."""
    ttl_jitter: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.25
    """The share of the time to live by which it varies at random, so that entries do not expire together."""
    scope: Literal["tenant", "key", "session", "pool"] = "tenant"
    """Among whose calls an answer is shared."""
    pool: PoolName | None = None
    """Whose members share answers; for all other tenants the scope is their own."""
    volatile_fields: tuple[Pointer, ...] = ()
    """Paths into the request, to what never decides the answer, as a timestamp."""
    round_digits: Annotated[int, msgspec.Meta(ge=0, le=15)] | None = None
    """Decimal places of the floats in tensors, embeddings' inputs and `predict` documents that count; None: all."""
    file_field: Name | None = None
    """Of a `predict` model: the field that holds a request's file, which counts by its content in any form."""
    cacheable: Cacheable = Cacheable()
    admit_after: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    """Keep an answer when its question is asked for the first time, or for the second within an hour or two."""
    negative: Negative | None = None
    sensitive: Sensitive | None = None
    coalesce: bool = True
    """Whether identical calls under way make one upstream call."""
    batches: bool = True
    """Whether each item of a request for several is kept by itself; not where items sway each other's answers."""
    batch: Pointer | None = None
    """Of a `predict` model: where the list of items stands in the request. Each item is kept by itself."""
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=MAX_TAGS)] = ()
    """What all answers of the model can be invalidated by, beside the tags that a call names."""
    semantic: Semantic | None = None
    tasks: tuple[Task, ...] = ()
    """The first whose conditions hold decides; where none does, the policy itself."""

    @property
    def pools(self) -> frozenset[str]:
        """The names of all pools in it."""
        stated = (self.pool, *(task.policy.get("pool") for task in self.tasks))
        return frozenset(name for name in stated if name is not None)

    @property
    def kept_stale_seconds(self) -> int:
        """How long after its end an answer is kept, for whatever reason."""
        return max(self.stale_if_error_seconds, self.stale_while_revalidate_seconds)

    @property
    def refreshes(self) -> bool:
        """Whether answers are asked for again before a call has to wait for that."""
        return self.early_refresh > 0 or self.stale_while_revalidate_seconds > 0

    def of_task(self, task: Task) -> "CachePolicy":
        """Return the policy of one of its tasks."""
        return parse_cache_policy(_of_task(self, task))


class MeteringRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where one count of a ``predict`` model comes from: exactly one of the four."""

    pointer: Pointer | None = None
    """Into the answer: a whole number."""
    per_call: AtLeastOne | None = None
    per_item: Pointer | None = None
    """Into the request: a list, counted."""
    per_kib: AtLeastOne | None = None
    """Of the request's body, rounded up."""


def parse_cache_policy(value: object, name: str = "cache") -> CachePolicy:
    """Return the cache policy that *value*, a JSON object, states; errors call it *name*.

    Raises:
        PolicyError: a field is unknown or out of its bounds, an expression is none, or a task contradicts itself.
    """
    policy: CachePolicy = _converted(value, CachePolicy, name)
    _check_sensitive(policy.sensitive, f"{name}.sensitive")
    _check_pool(policy, name)
    if policy.refreshes and not policy.coalesce:
        ahead = "early_refresh and stale_while_revalidate_seconds"
        raise PolicyError(f"{name}.coalesce: {ahead} need it: one call asks again for all.")
    for place, task in enumerate(policy.tasks):
        _check_task(policy, task, f"{name}.tasks[{place}]")
    if len({task.name for task in policy.tasks}) < len(policy.tasks):
        raise PolicyError(f"{name}.tasks: two have the same name.")
    return policy


def parse_metering_rules(value: object) -> dict[str, MeteringRule]:
    """Return the metering rules in *value*: a token pool or ``units`` → where its count comes from.

    Raises:
        PolicyError: a pool does not exist, or a rule does not name exactly one source.
    """
    rules: dict[str, MeteringRule] = _converted(value, dict[str, MeteringRule], "metering")
    for pool, rule in rules.items():
        if pool not in BILLABLE:
            raise PolicyError(f"metering: there is no {pool!r}; name one of {', '.join(BILLABLE)}.")
        if len(_stated(rule)) != 1:
            known = "pointer, per_call, per_item, per_kib"
            raise PolicyError(f"metering.{pool}: name exactly one of {known}.")
    return rules


def _check_sensitive(sensitive: Sensitive | None, name: str) -> None:
    if sensitive is None:
        return
    if not (sensitive.detect or sensitive.patterns or sensitive.fields):
        raise PolicyError(f"{name}: say what it is, in detect, patterns or fields.")
    for pattern, expression in sensitive.patterns.items():
        _check_expression(expression, f"{name}.patterns.{pattern}")


def _check_pool(policy: CachePolicy, name: str) -> None:
    if (policy.scope == "pool") != (policy.pool is not None):
        raise PolicyError(f"{name}.pool: scope: pool and the pool's name go together.")
    if policy.scope == "pool" and policy.semantic is not None:
        raise PolicyError(f"{name}.semantic: tenants of a pool share exact hits only; leave it out, or null.")


def _check_task(policy: CachePolicy, task: Task, name: str) -> None:
    for condition in conditions(task):
        stated = [getattr(condition, kind) is not None for kind in ("equals", "matches", "exists")]
        if sum(stated) != 1:
            raise PolicyError(f"{name}.when: name exactly one of equals, matches, exists.")
        if condition.matches is not None:
            _check_expression(condition.matches, f"{name}.when.matches")
    if "tasks" in task.policy:
        raise PolicyError(f"{name}.policy.tasks: a task has no tasks.")
    parse_cache_policy(_of_task(policy, task), f"{name}.policy")


def _of_task(policy: CachePolicy, task: Task) -> dict[str, Any]:
    return {**msgspec.to_builtins(policy), **task.policy, "tasks": ()}


def conditions(task: Task) -> tuple[Condition, ...]:
    """Return what must hold of a request for it to be the task's."""
    return task.when if isinstance(task.when, tuple) else (task.when,)


def _check_expression(expression: Expression, name: str) -> None:
    try:
        compiled(expression)
    except ExpressionError as problem:
        raise PolicyError(f"{name}: {problem}.") from problem


def _stated(rule: MeteringRule) -> Mapping[str, Any]:
    stated: dict[str, Any] = msgspec.to_builtins(rule)
    return stated


def _converted(value: object, kind: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        path = place.removeprefix("key` in `").strip("$`")
        raise PolicyError(f"{name}{path}: {message}.") from error
