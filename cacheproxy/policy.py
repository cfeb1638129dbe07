"""How a model is cached and metered, as the catalog states it: for the gateway, ``apply`` and the admin. Plain."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from metering.tokens import BILLABLE

DAY_SECONDS = 86_400
YEAR_SECONDS = 366 * DAY_SECONDS
STALE_SECONDS = 30 * DAY_SECONDS
Pointer = Annotated[str, msgspec.Meta(pattern=r"^(/([^~]|~0|~1)*)+$")]
MAX_TAGS = 16
MAX_TAG_BYTES = 128
Tag = Annotated[str, msgspec.Meta(pattern=r"^[!-+\--~]+$", max_length=MAX_TAG_BYTES)]
"""Visible ASCII without a comma: what a header can list."""
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


class CachePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers of a model are kept."""

    enabled: bool = True
    ttl_seconds: Annotated[int, msgspec.Meta(ge=1, le=YEAR_SECONDS)] = DAY_SECONDS
    stale_if_error_seconds: Annotated[int, msgspec.Meta(ge=0, le=STALE_SECONDS)] = 0
    """How long after its end an answer may stand in for an upstream that fails (RFC 5861)."""
    ttl_jitter: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    """The share of the time to live by which it varies at random, so that entries do not expire together."""
    scope: Literal["tenant", "key", "session"] = "tenant"
    """Among whose calls an answer is shared."""
    volatile_fields: tuple[Pointer, ...] = ()
    """JSON Pointers (RFC 6901) into the request, to what never decides the answer, as a timestamp."""
    coalesce: bool = True
    """Whether identical calls under way make one upstream call."""
    batches: bool = True
    """Whether each item of a request for several is kept by itself; not where items sway each other's answers."""
    batch: Pointer | None = None
    """Of a `predict` model: where the list of items stands in the request. Each item is kept by itself."""
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=MAX_TAGS)] = ()
    """What all answers of the model can be invalidated by, beside the tags that a call names."""
    semantic: Semantic | None = None


class MeteringRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where one count of a ``predict`` model comes from: exactly one of the four."""

    pointer: Pointer | None = None
    """Into the answer: a whole number."""
    per_call: AtLeastOne | None = None
    per_item: Pointer | None = None
    """Into the request: a list, counted."""
    per_kib: AtLeastOne | None = None
    """Of the request's body, rounded up."""


def parse_cache_policy(value: object) -> CachePolicy:
    """Return the cache policy that *value*, a JSON object, states.

    Raises:
        PolicyError: a field is unknown or out of its bounds.
    """
    policy: CachePolicy = _converted(value, CachePolicy, "cache")
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


def _stated(rule: MeteringRule) -> Mapping[str, Any]:
    stated: dict[str, Any] = msgspec.to_builtins(rule)
    return stated


def _converted(value: object, kind: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise PolicyError(f"{name}{path.rstrip('`')}: {message}.") from error
