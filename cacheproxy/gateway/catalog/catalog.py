"""What the gateway knows about the world: keys, models and price books, as values in memory.

Rows of three views become the structs here. Nothing asks the database on a call's way; `feed.py` keeps the
copy fresh. What changes by the clock alone (an expiry, a revocation set for later, the next price) is decided
by the clock at every call, never by a reload.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from billing.money import billionths
from billing.rating.price_book import PriceBook
from cacheproxy.cache.epochs import Epochs, Invalidation, Place
from cacheproxy.gateway.catalog.tariff import Tariff, tariff_at
from cacheproxy.gateway.limits.rules import Budget, KeyLimits, PlanLimits
from cacheproxy.gateway.upstreams.secrets import read_secret
from cacheproxy.policy import CachePolicy
from cacheproxy.rules import ModelRules

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
Value = TypeVar("Value")
Network = IPv4Network | IPv6Network


class Target(msgspec.Struct, frozen=True):
    """One place where a model is served: an upstream, how long it is waited for, and the operator's key to it."""

    upstream: str
    protocol: str
    url: str
    upstream_model: str
    api_key_env: str
    weight: int
    priority: int
    timeout_seconds: float
    connect_timeout_seconds: float
    first_byte_timeout_seconds: float
    idle_timeout_seconds: float
    breaker_failures: int
    breaker_open_seconds: float
    secret: str | None = None

    def __repr__(self) -> str:
        return f"<Target {self.upstream}/{self.upstream_model}>"  # secrets stay out of logs


class Model(msgspec.Struct, frozen=True):
    """A model as customers name it, and where it is served."""

    name: str
    version: str
    protocol: str
    targets: tuple[Target, ...]
    retry: Literal["safe", "any"]
    rules: ModelRules
    """How its answers are cached."""
    metering: dict[str, Any]
    upstream_digest: bytes
    """Stands for targets and metering rule in the cache key: another server, or count, is another answer.

    Weights, priorities and limits are not in it: they do not change what is answered.
    """


_decode_targets = msgspec.json.Decoder(tuple[Target, ...]).decode


class Subscription(NamedTuple):
    """A plan in force over ``[starts_at, ends_at)``; without an end, until further notice."""

    plan_id: int
    starts_at: datetime
    ends_at: datetime | None


class Pool(msgspec.Struct, frozen=True):
    """A pool of tenants who share answers."""

    id: int
    name: str
    secret: bytes
    pad_hits: bool
    """Whether another tenant's answer is held back until it would have come from the upstream."""

    def __repr__(self) -> str:
        return f"<Pool {self.name}>"  # secrets stay out of logs

    @property
    def owner(self) -> int:
        """Whose its answers are, among the owners of `cache/epochs.py`."""
        return -self.id


class Access(msgspec.Struct, frozen=True):
    """What one API key opens, and for whom."""

    api_key_id: int
    public_id: str
    tenant_id: int
    tenant_slug: str
    suspended: bool
    cache_secret: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    subscriptions: tuple[Subscription, ...]
    limits: KeyLimits = KeyLimits()
    budgets: tuple[Budget, ...] = ()
    allowed_models: frozenset[str] = frozenset()
    """Empty: every model of the plan."""
    allowed_networks: tuple[Network, ...] = ()
    """Empty: the key may be used from anywhere."""
    keep_content: bool = False
    """Whether the tenant lets its requests be kept."""
    pools: tuple[Pool, ...] = ()
    """Those that the tenant has joined."""
    sharing: bytes = b""
    """Changes with anything that decides among whom its answers are shared."""

    def __repr__(self) -> str:
        return f"<Access {self.public_id} of {self.tenant_slug}>"  # secrets stay out of logs

    def pool(self, name: str) -> Pool | None:
        """Return the pool of that name, if the tenant is in it."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def plan_id_at(self, now: datetime) -> int | None:
        """Return the plan in force at *now*."""
        for plan_id, starts_at, ends_at in self.subscriptions:
            if starts_at <= now and (ends_at is None or now < ends_at):
                return plan_id
        return None


class Plan(msgspec.Struct, frozen=True):
    """A plan's price book, and its limits."""

    plan_id: int
    name: str
    currency: str
    book: PriceBook
    limits: PlanLimits = PlanLimits()


class Catalog:
    """The copy that calls are checked against. Replaced part by part, between two calls, never half."""

    def __init__(self) -> None:
        self.loaded = False
        self.revision = 0
        """Counts changes of the keys and plans."""
        self.models: dict[str, Model] = {}
        self.plans: dict[int, Plan] = {}
        self.epochs = Epochs()
        self.on_models: Callable[[], None] | None = None
        """Told when the models may be others."""
        self._accesses: dict[bytes, Access] = {}
        self._tariffs: dict[tuple[int, str], Tariff] = {}

    def access(self, key_digest: bytes) -> Access | None:
        """Return what the key with this digest opens."""
        return self._accesses.get(key_digest)

    def tariff(self, plan_id: int, model: str, now: datetime) -> Tariff | None:
        """Return the prices of *model* in force at *now*, or None where the plan has none."""
        tariff = self._tariffs.get((plan_id, model))
        if tariff is None or not tariff.in_force(now):
            plan = self.plans.get(plan_id)
            tariff = tariff_at(plan.book, model, now) if plan else None
            if tariff is not None:
                self._tariffs[plan_id, model] = tariff
        return tariff

    def replace_accesses(self, rows: Iterable[Row]) -> None:
        """Take *rows* as all keys there are."""
        self._accesses = read_accesses(rows)
        self.revision += 1

    def replace_tenant(self, tenant_id: int, rows: Iterable[Row]) -> None:
        """Take *rows* as all keys of one tenant."""
        others = {key: access for key, access in self._accesses.items() if access.tenant_id != tenant_id}
        self._accesses = others | read_accesses(rows)
        self.revision += 1

    def add_accesses(self, rows: Iterable[Row]) -> None:
        """Add keys found by a look-up."""
        self._accesses.update(read_accesses(rows))

    def replace_models(self, models: Iterable[Row], plans: Iterable[Row]) -> None:
        """Take the rows as all models and price books. An unchanged model stays the same object."""
        fresh = _readable(models, "model", read_model)
        self.models = {
            name: self.models[name] if self.models.get(name) == model else model
            for name, model in fresh.items()
        }
        self.plans = _readable(plans, "plan_id", read_plan)
        self._tariffs = {}
        self.revision += 1
        if self.on_models is not None:
            self.on_models()


def _readable(rows: Iterable[Row], name: str, read: Callable[[Row], Value]) -> dict[Any, Value]:
    """Return name → value of the rows that can be read. One bad row must not take the others out of service."""
    values = {}
    for row in rows:
        try:
            values[row[name]] = read(row)
        except ValueError as problem:
            logger.error("The %s %s is left out: %s", name, row[name], problem)  # noqa: TRY400 - it names the row
    return values


def read_accesses(rows: Iterable[Row]) -> dict[bytes, Access]:
    """Return key digest → access from rows of ``gateway_access``: one per key and subscription."""
    accesses: dict[bytes, Access] = {}
    for row in rows:
        digest, secret, pools = bytes(row["key_digest"]), bytes(row["cache_secret"]), row["pools"] or "[]"
        known = accesses.get(digest)
        subscriptions = known.subscriptions if known else ()
        if row["plan_id"] is not None:
            subscriptions += (Subscription(row["plan_id"], row["plan_starts_at"], row["plan_ends_at"]),)
        accesses[digest] = Access(
            api_key_id=row["api_key_id"],
            public_id=row["public_id"],
            tenant_id=row["tenant_id"],
            tenant_slug=row["tenant_slug"],
            suspended=row["tenant_status"] != "active",
            cache_secret=secret,
            scopes=frozenset(row["scopes"]),
            expires_at=row["expires_at"],
            revoked_at=row["revoked_at"],
            subscriptions=subscriptions,
            limits=KeyLimits(
                requests_per_minute=row["requests_per_minute"],
                tokens_per_minute=row["tokens_per_minute"],
                concurrent_requests=row["concurrent_requests"],
                max_output_tokens=row["max_output_tokens"],
                enable_cache=row["enable_cache"],
            ),
            budgets=known.budgets if known else read_budgets(row["budgets"]),
            allowed_models=frozenset(row["allowed_models"]),
            allowed_networks=tuple(map(ip_network, row["allowed_networks"])),
            keep_content=row["keep_content"],
            pools=known.pools if known else read_pools(pools),
            sharing=secret + pools.encode(),
        )
    return accesses


def read_budgets(text: str) -> tuple[Budget, ...]:
    """Return the budgets in a row of ``gateway_access``."""
    return tuple(
        Budget(id=budget["id"], period=budget["period"], hard_nano=billionths(Decimal(budget["hard_amount"])))
        for budget in msgspec.json.decode(text)
    )


def read_pools(text: str) -> tuple[Pool, ...]:
    """Return the pools in a row of accesses."""
    return tuple(
        Pool(pool["id"], pool["name"], bytes.fromhex(pool["secret"]), pool["pad_hits"])
        for pool in msgspec.json.decode(text)
    )


def read_model(row: Row) -> Model:
    """Return the model in a row of ``gateway_catalog``, with its upstreams' keys as they are now."""
    targets = tuple(map(_with_secret, _decode_targets(row["targets"])))
    protocol = targets[0].protocol
    places = sorted({(target.url, target.upstream_model) for target in targets})
    return Model(
        name=row["model"],
        version=row["version"],
        protocol=protocol,
        targets=targets,
        retry=row["retry"],
        rules=ModelRules(msgspec.json.decode(row["cache"] or "{}", type=CachePolicy)),
        metering=msgspec.json.decode(row["metering"] or "{}"),
        upstream_digest=msgspec.json.encode([protocol, places, row["metering"]]),
    )


def read_invalidation(row: Row) -> Invalidation:
    """Return the invalidation in a row of ``gateway_invalidations``."""
    place = Place(
        model=row["model"],
        version=row["version"],
        session=row["session"].encode(),
        tag=row["tag"].encode(),
        key=row["key"].encode(),
    )
    return Invalidation(row["epoch"], row["tenant_id"], place, tuple(key.encode() for key in row["keys"]))


def _with_secret(target: Target) -> Target:
    secret = read_secret(target.api_key_env) if target.api_key_env else None
    if target.api_key_env and secret is None:
        logger.error(
            "The upstream %s needs its key in the environment variable %s, which is not set.",
            target.upstream,
            target.api_key_env,
        )
    return msgspec.structs.replace(target, url=target.url.rstrip("/"), secret=secret)


def read_plan(row: Row) -> Plan:
    """Return the plan in a row of ``gateway_price_book``."""
    book = PriceBook.from_rows(
        currency=row["currency"],
        prices=msgspec.json.decode(row["prices"]),
        hit_discounts=msgspec.json.decode(row["hit_discounts"]),
    )
    return Plan(
        plan_id=row["plan_id"],
        name=row["plan"],
        currency=row["currency"],
        book=book,
        limits=msgspec.json.decode(row["limits"], type=PlanLimits),
    )
