"""What limits a plan, a key and its budgets set, and what of it one caller is held to. Values, no state."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["requests", "tokens"]

_PERIODS_KEPT = timedelta(days=2)
"""How long a budget's counter outlives its period."""


class KeyLimits(msgspec.Struct, frozen=True):
    """Limits of one API key; None: none of its own."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    max_output_tokens: int | None = None
    enable_cache: bool = True


class PlanLimits(KeyLimits, frozen=True):
    """Limits of each tenant on a plan; None: none."""

    max_body_bytes: int | None = None
    count_hits: bool = False
    drain_seconds: int = 30
    """How long an upstream is read on after the client hung up, and for how many streamed tokens."""
    drain_tokens: int = 4096


class Budget(msgspec.Struct, frozen=True):
    """What may be spent in a UTC day or month, by a tenant or one of its keys, in billionths of its currency."""

    id: int
    period: Literal["day", "month"]
    hard_nano: int


class Rate(NamedTuple):
    """So many requests or tokens a minute, counted under a key of Redis."""

    key: bytes
    kind: Kind
    per_minute: int
    holder: str
    """Whose limit it is, for people."""


class Slots(NamedTuple):
    """So many calls at once, held under a key of Redis."""

    key: bytes
    at_once: int
    holder: str


class Rules(NamedTuple):
    """All that one caller is held to."""

    tenant_id: int
    rates: tuple[Rate, ...]
    slots: tuple[Slots, ...]
    budgets: tuple[Budget, ...]
    max_output_tokens: int | None
    count_hits: bool

    @property
    def limited(self) -> bool:
        """Return whether there is anything to hold a call to."""
        return bool(self.rates or self.slots or self.budgets or self.max_output_tokens)


def rules_of(
    *, tenant_id: int, api_key_id: int, plan: PlanLimits, key: KeyLimits, budgets: tuple[Budget, ...]
) -> Rules:
    """Return what calls of the key are held to: limits of plan and key both hold."""
    tag, own = hash_tag(tenant_id), b":k%d" % api_key_id
    both: tuple[tuple[KeyLimits, bytes, str], ...] = ((plan, b"", "your plan"), (key, own, "this API key"))
    outputs = [limits.max_output_tokens for limits, _, _ in both if limits.max_output_tokens is not None]
    return Rules(
        tenant_id=tenant_id,
        rates=tuple(rate for limits, suffix, holder in both for rate in _rates(limits, tag, suffix, holder)),
        slots=tuple(
            Slots(tag + b"slots" + suffix, limits.concurrent_requests, holder)
            for limits, suffix, holder in both
            if limits.concurrent_requests is not None
        ),
        budgets=budgets,
        max_output_tokens=min(outputs, default=None),
        count_hits=plan.count_hits,
    )


def _rates(limits: KeyLimits, tag: bytes, suffix: bytes, holder: str) -> Iterator[Rate]:
    if limits.requests_per_minute is not None:
        yield Rate(tag + b"requests" + suffix, "requests", limits.requests_per_minute, holder)
    if limits.tokens_per_minute is not None:
        yield Rate(tag + b"tokens" + suffix, "tokens", limits.tokens_per_minute, holder)


def hash_tag(tenant_id: int) -> bytes:
    """Return what all counters of a tenant begin with: in a cluster they share a slot, and so a script call."""
    return b"zerorate:{t%d}:" % tenant_id


def budget_key(tenant_id: int, budget_id: int, period_start: datetime) -> bytes:
    """Return where a budget's counter of one period is: a hash, and under ``:x`` when its entries expire."""
    return hash_tag(tenant_id) + b"budget:%d:%d" % (budget_id, int(period_start.timestamp()))


def period_start(period: str, now: datetime) -> datetime:
    """Return the start of the UTC day or month that holds *now*."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if period == "day" else midnight.replace(day=1)


def period_end(period: str, start: datetime) -> datetime:
    """Return the end of the day or month that begins at *start*."""
    if period == "day":
        return start + timedelta(days=1)
    return (start + timedelta(days=32)).replace(day=1)


def counter_expiry(period: str, start: datetime) -> int:
    """Return when Redis may forget the counter of the period that begins at *start*, in Unix seconds."""
    return int((period_end(period, start) + _PERIODS_KEPT).timestamp())
