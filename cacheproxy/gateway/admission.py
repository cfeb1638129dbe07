"""Who is calling, and may they: the checks in front of every call, on values in memory."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_network
from typing import NamedTuple

from cacheproxy.cache.epochs import Era
from cacheproxy.gateway.addresses import client_address, is_within
from cacheproxy.gateway.catalog.catalog import Access, Catalog, Model, Plan
from cacheproxy.gateway.catalog.feed import Feed
from cacheproxy.gateway.catalog.tariff import Tariff
from cacheproxy.gateway.database import DatabaseAway
from cacheproxy.gateway.errors import (
    ExpiredKey,
    MalformedKey,
    MissingKey,
    ModelNotAllowed,
    ModelNotFound,
    ModelNotInPlan,
    NetworkNotAllowed,
    NoPlan,
    NotReady,
    RevokedKey,
    TenantSuspended,
    UnknownKey,
    WrongScope,
)
from cacheproxy.gateway.limits.rules import PlanLimits, Rules, rules_of
from tenants.keys import digest, is_well_formed

SCOPE = "inference"
NO_LIMITS = PlanLimits()
_FAR = datetime(9999, 12, 31, tzinfo=UTC)


class Caller(NamedTuple):
    """Who was let in, on which plan."""

    access: Access
    plan_id: int
    limits: PlanLimits = NO_LIMITS
    """The plan's."""
    rules: Rules | None = None
    """What its calls are held to; None where nothing limits them."""
    enable_cache: bool = True
    """Whether its calls may be answered from the cache, and their answers be kept."""


def caller_of(access: Access, plan_id: int, plan: Plan | None) -> Caller:
    """Return the caller with *access* on the plan; it cannot be read now where it is None, and sells nothing."""
    if plan is None:
        return Caller(access, plan_id)
    rules = rules_of(
        tenant_id=access.tenant_id,
        api_key_id=access.api_key_id,
        plan=plan.limits,
        key=access.limits,
        budgets=access.budgets,
    )
    enable_cache = plan.limits.enable_cache and access.limits.enable_cache
    return Caller(access, plan_id, plan.limits, rules if rules.limited else None, enable_cache)


class Pass(NamedTuple):
    """A caller who may come in again over ``[since, until)`` as long as the catalog stays as it is."""

    caller: Caller
    since: datetime
    until: datetime


class Door:
    """Lets callers in by their key, and to the models of their plan."""

    def __init__(
        self,
        catalog: Catalog,
        feed: Feed,
        *,
        key_pepper: str,
        trusted_proxies: Iterable[str] = (),
        enable_cache: bool = True,
    ) -> None:
        self._catalog = catalog
        self._feed = feed
        self._key_pepper = key_pepper
        self._trusted_proxies = tuple(map(ip_network, trusted_proxies))
        self._enable_cache = enable_cache
        self._recognised: dict[bytes, Access] = {}
        self._passes: dict[bytes, Pass] = {}
        self._revision = catalog.revision

    async def let_in(
        self, headers: Mapping[bytes, bytes], now: datetime, client: tuple[str, int] | None = None
    ) -> Caller:
        """Return the caller whose key is in *headers*; *client* is the connection's other end, as ASGI says it.

        Raises:
            Unauthenticated: no key, or one that is malformed, unknown, expired or revoked at *now*.
            Forbidden: a key without the scope, or from outside its networks, a suspended tenant, no plan in
                force at *now*.
            NotReady: the catalog is not loaded, or an unknown key cannot be looked up.
        """
        return self.known(headers, now, client) or await self._meet(headers, now, client)

    def known(
        self, headers: Mapping[bytes, bytes], now: datetime, client: tuple[str, int] | None
    ) -> Caller | None:
        """Return the caller who has been let in before, and may be again; None: `let_in` will see.

        Raises:
            MissingKey: there is no key.
            NetworkNotAllowed: *client* is outside the key's networks.
        """
        if self._revision != self._catalog.revision:
            self._recognised.clear()
            self._passes.clear()
            self._revision = self._catalog.revision
        # A digest is a fifth of the HMAC's price; keys themselves are not kept.
        known = self._passes.get(sha256(_key(headers)).digest())
        if known is None or not known.since <= now < known.until:
            return None
        return self._inside(known.caller, headers, client)

    async def _meet(
        self, headers: Mapping[bytes, bytes], now: datetime, client: tuple[str, int] | None
    ) -> Caller:
        key = _key(headers)
        fingerprint = sha256(key).digest()
        passed = self._passes[fingerprint] = await self._check(fingerprint, key, now)
        return self._inside(passed.caller, headers, client)

    def _inside(
        self, caller: Caller, headers: Mapping[bytes, bytes], client: tuple[str, int] | None
    ) -> Caller:
        networks = caller.access.allowed_networks
        if networks and not is_within(client_address(client, headers, self._trusted_proxies), networks):
            raise NetworkNotAllowed
        return caller

    def body_limit(self, caller: Caller, default_bytes: int) -> int:
        """Return how large the caller's request may be: as the plan says, and never over the gateway's own bound."""
        limit = caller.limits.max_body_bytes
        return default_bytes if limit is None else min(limit, default_bytes)

    async def _check(self, fingerprint: bytes, key: bytes, now: datetime) -> Pass:
        access = self._recognised.get(fingerprint)
        if access is None:
            access = self._recognised[fingerprint] = await self._recognise(key.decode("latin-1"))
        plan_id = _admit(access, now)
        caller = caller_of(access, plan_id, self._catalog.plans.get(plan_id))
        caller = caller._replace(enable_cache=self._enable_cache and caller.enable_cache)
        return Pass(caller, now, _until(access, now))

    async def _recognise(self, key: str) -> Access:
        return self._catalog.access(digest(key, self._key_pepper)) or await self._look_up(key)

    def model(self, name: str, protocol: str) -> Model:
        """Return the model *name*, where it is spoken to in *protocol*.

        Raises:
            ModelNotFound: no enabled model has this name and protocol.
        """
        model = self._catalog.models.get(name)
        if model is None or model.protocol != protocol:
            raise ModelNotFound(name)
        return model

    def era(self, owner: int, model: Model, tags: tuple[str, ...]) -> Era:
        """Return what lasts for these calls until the next invalidation that may concern them."""
        return self._catalog.epochs.era(owner, model.name, model.version, tags)

    def is_current(self, model: Model) -> bool:
        """Return whether *model* is still what the catalog says."""
        return self._catalog.models.get(model.name) is model

    def tariff(self, caller: Caller, model: Model, now: datetime) -> Tariff:
        """Return the model's prices in the caller's plan.

        Raises:
            ModelNotAllowed: the key is bound to other models.
            ModelNotInPlan: the plan has none at *now*.
        """
        if caller.access.allowed_models and model.name not in caller.access.allowed_models:
            raise ModelNotAllowed(model.name)
        tariff = self._catalog.tariff(caller.plan_id, model.name, now)
        if tariff is None:
            raise ModelNotInPlan(model.name)
        return tariff

    def models(self, caller: Caller, now: datetime) -> list[Model]:
        """Return the models that the caller's key may use and its plan has prices for at *now*, by name."""
        allowed = caller.access.allowed_models
        return [
            self._catalog.models[name]
            for name in sorted(self._catalog.models)
            if (not allowed or name in allowed) and self._catalog.tariff(caller.plan_id, name, now)
        ]

    async def _look_up(self, key: str) -> Access:
        if not is_well_formed(key):
            raise MalformedKey
        if not self._catalog.loaded:
            raise NotReady
        try:
            access = await self._feed.look_up(digest(key, self._key_pepper))
        except DatabaseAway as failure:
            raise NotReady from failure
        if access is None:
            raise UnknownKey
        return access


def _key(headers: Mapping[bytes, bytes]) -> bytes:
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        key = authorization[7:].strip()
    else:
        key = headers.get(b"x-api-key", b"")
    if not key:
        raise MissingKey
    return key


def _admit(access: Access, now: datetime) -> int:
    """Return the plan that *access* is on."""
    if access.revoked_at is not None and access.revoked_at <= now:
        raise RevokedKey
    if access.expires_at is not None and access.expires_at <= now:
        raise ExpiredKey
    if SCOPE not in access.scopes:
        raise WrongScope
    if access.suspended:
        raise TenantSuspended
    plan_id = access.plan_id_at(now)
    if plan_id is None:
        raise NoPlan
    return plan_id


def _until(access: Access, now: datetime) -> datetime:
    """Return the next instant at which another plan, or none, may be in force, or the key at its end."""
    instants = [access.revoked_at, access.expires_at]
    for _, starts_at, ends_at in access.subscriptions:
        instants += (starts_at, ends_at)
    return min((instant for instant in instants if instant is not None and instant > now), default=_FAR)
