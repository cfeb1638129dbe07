"""Who is calling, and may they: the checks in front of every call, on values in memory."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from cacheproxy.gateway.catalog import Access, Catalog, Model
from cacheproxy.gateway.database import DatabaseAway
from cacheproxy.gateway.errors import (
    ExpiredKey,
    MalformedKey,
    MissingKey,
    ModelNotFound,
    ModelNotInPlan,
    NoPlan,
    NotReady,
    RevokedKey,
    TenantSuspended,
    UnknownKey,
    WrongScope,
)
from cacheproxy.gateway.feed import Feed
from cacheproxy.gateway.tariff import Tariff
from tenants.keys import digest, is_well_formed

SCOPE = "inference"


class Caller(NamedTuple):
    """Who was let in, on which plan."""

    access: Access
    plan_id: int


class Door:
    """Lets callers in by their key, and to the models of their plan."""

    def __init__(self, catalog: Catalog, feed: Feed, *, key_pepper: str) -> None:
        self._catalog = catalog
        self._feed = feed
        self._key_pepper = key_pepper

    async def let_in(self, headers: Mapping[bytes, bytes], now: datetime) -> Caller:
        """Return the caller whose key is in *headers*.

        Raises:
            Unauthenticated: no key, or one that is malformed, unknown, expired or revoked at *now*.
            Forbidden: a key without the scope, a suspended tenant, no plan in force at *now*.
            NotReady: the catalog is not loaded, or an unknown key cannot be looked up.
        """
        key = _key(headers)
        access = self._catalog.access(digest(key, self._key_pepper))
        if access is None:
            access = await self._look_up(key)
        return _admit(access, now)

    def model(self, name: str, protocol: str) -> Model:
        """Return the model *name*, where it is spoken to in *protocol*.

        Raises:
            ModelNotFound: no enabled model has this name and protocol.
        """
        model = self._catalog.models.get(name)
        if model is None or model.protocol != protocol:
            raise ModelNotFound(name)
        return model

    def is_current(self, model: Model) -> bool:
        """Return whether *model* is still what the catalog says."""
        return self._catalog.models.get(model.name) is model

    def tariff(self, caller: Caller, model: Model, now: datetime) -> Tariff:
        """Return the model's prices in the caller's plan.

        Raises:
            ModelNotInPlan: the plan has none at *now*.
        """
        tariff = self._catalog.tariff(caller.plan_id, model.name, now)
        if tariff is None:
            raise ModelNotInPlan(model.name)
        return tariff

    def models(self, caller: Caller, now: datetime) -> list[Model]:
        """Return the models that the caller's plan has prices for at *now*, by name."""
        names = sorted(self._catalog.models)
        return [
            self._catalog.models[name] for name in names if self._catalog.tariff(caller.plan_id, name, now)
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


def _key(headers: Mapping[bytes, bytes]) -> str:
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        key = authorization[7:].strip()
    else:
        key = headers.get(b"x-api-key", b"")
    if not key:
        raise MissingKey
    return key.decode("latin-1")


def _admit(access: Access, now: datetime) -> Caller:
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
    return Caller(access, plan_id)
