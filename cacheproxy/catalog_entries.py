"""What a catalog file states, entry by entry. Plain."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from metering.tokens import BILLABLE

Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=63)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
UpstreamModel = Annotated[str, msgspec.Meta(max_length=200)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,12})?$")]
Percent = Annotated[str, msgspec.Meta(pattern=r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]{1,4})?)$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Bound = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Entry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What all of them have."""

    line: int = 0
    """Where it begins, from 1."""


class UpstreamEntry(Entry):
    """A model server."""

    name: Slug
    protocol: Literal["openai", "anthropic", "predict", "oip"]
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+", max_length=500)]
    api_key_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    timeout_seconds: Seconds = 120
    connect_timeout_seconds: Seconds = 5
    first_byte_timeout_seconds: Seconds | None = None
    idle_timeout_seconds: Seconds = 60
    breaker_failures: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    breaker_open_seconds: Seconds = 10


class TargetEntry(Entry):
    """One of several upstreams of a model."""

    upstream: Slug
    upstream_model: UpstreamModel = ""
    weight: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0


class ModelEntry(Entry):
    """What customers name in ``model``. ``upstream`` is the short form of a list of one."""

    name: Name
    upstream: Slug = ""
    upstream_model: UpstreamModel = ""
    upstreams: list[TargetEntry] = []
    retry: Literal["safe", "any"] = "safe"
    version: Name = "1"
    cache: dict[str, Any] = {}
    metering: dict[str, Any] = {}
    enabled: bool = True

    @property
    def targets(self) -> list[TargetEntry]:
        """Where the model is served, however it was written."""
        short = TargetEntry(upstream=self.upstream, upstream_model=self.upstream_model, line=self.line)
        return self.upstreams or [short]


class PriceEntry(Entry):
    """The prices of one model from an instant on."""

    model: Name
    input: Amount | None = None
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    cache_write_1h: Amount | None = None
    output: Amount | None = None
    units: Amount | None = None
    per: int = 1_000_000
    effective_from: datetime | None = None

    def amounts(self) -> Iterator[tuple[str, Decimal]]:
        """Yield each priced pool and its amount."""
        for pool in BILLABLE:
            amount = getattr(self, pool)
            if amount is not None:
                yield pool, Decimal(amount)


class HitDiscountEntry(Entry):
    """A hit discount for a model or pool of its own, or from an instant on."""

    outcome: Literal["exact", "coalesced", "semantic"]
    percent: Percent
    model: str = ""
    pool: Literal["", "input", "cache_read", "cache_write", "cache_write_1h", "output", "units"] = ""
    effective_from: datetime | None = None


class LimitsEntry(Entry):
    """All limits of a plan; what is not named is not limited, and draining is as by default."""

    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrent_requests: Limit | None = None
    max_output_tokens: Limit | None = None
    max_body_bytes: Limit | None = None
    count_hits: bool = False
    enable_cache: bool = True
    drain_seconds: Bound = 30
    drain_tokens: Bound = 4096

    def values(self) -> dict[str, Any]:
        """Return the limits as a plan's columns."""
        stated: dict[str, Any] = msgspec.structs.asdict(self)
        del stated["line"]
        return stated


class BudgetEntry(Entry):
    """A budget of a tenant. Those of its keys are not in the file, as its keys are not."""

    period: Literal["day", "month"] = "month"
    soft: Amount | None = None
    hard: Amount | None = None
    webhook_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s/]+.*)?$", max_length=500)] = ""
    email: Annotated[str, msgspec.Meta(pattern=r"^([^@\s]+@[^@\s]+)?$", max_length=254)] = ""

    @property
    def amounts(self) -> tuple[Decimal | None, Decimal | None]:
        """Return the soft amount and the hard one."""
        soft, hard = (None if text is None else Decimal(text) for text in (self.soft, self.hard))
        return soft, hard


class PlanEntry(Entry):
    """A plan; its prices, discounts and limits are entries of their own. Without limits it keeps those it has."""

    name: Slug
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    prices: list[PriceEntry] = []
    hit_discounts: list[HitDiscountEntry] = []
    limits: LimitsEntry | None = None


class PoolEntry(Entry):
    """A pool of tenants who share answers."""

    name: Slug
    pad_hits: bool = False


class MembershipEntry(Entry):
    """A tenant's opt-in to a pool."""

    pool: Slug
    agreed_by: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """Who agreed for the tenant."""


class TenantEntry(Entry):
    """A tenant, the plan it is on, its budgets and its pools. Without pools it stays in those it is in."""

    slug: Slug
    name: Name
    plan: Slug
    billing_email: str = ""
    billing_address: str = ""
    budgets: list[BudgetEntry] = []
    pools: list[MembershipEntry] | None = None


class CatalogFile(NamedTuple):
    """A whole file, understood."""

    upstreams: list[UpstreamEntry]
    pools: list[PoolEntry]
    models: list[ModelEntry]
    plans: list[PlanEntry]
    tenants: list[TenantEntry]
