"""Changes to tenants and keys."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction

from tenants import keys
from tenants.errors import KeyNotUsable, UnfitLimit, UnknownScope
from tenants.models import ApiKey, Scope, Tenant, all_scopes
from tenants.networks import network

USE_NOTED_EVERY = timedelta(minutes=1)


class KeyLimits(NamedTuple):
    """What a key is held to beside its tenant's plan. None, or nothing named: no limit of its own."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    max_output_tokens: int | None = None
    allowed_models: Sequence[str] = ()
    allowed_networks: Sequence[str] = ()
    """CIDR, as 203.0.113.0/24 or 2001:db8::/32."""
    enable_cache: bool = True
    """Whether its calls may be answered from the cache, and their answers be kept."""

    @classmethod
    def of(cls, api_key: ApiKey) -> "KeyLimits":
        """Return the limits that a key has."""
        return cls(*(getattr(api_key, name) for name in cls._fields))

    def fit(self) -> dict[str, Any]:
        """Return the limits as a key's columns, networks in their one spelling.

        Raises:
            UnfitLimit: a number is not above zero, or what should be a network is none.
        """
        for name in ApiKey.LIMITS:
            if (limit := getattr(self, name)) is not None and not 0 < limit < 2**31:
                raise UnfitLimit(f"{name}: {limit} does not limit anything; name a whole number above zero.")
        try:
            networks = [network(text) for text in self.allowed_networks]
        except ValidationError as error:
            raise UnfitLimit(f"allowed_networks: {error.message}") from error
        return self._asdict() | {"allowed_models": list(self.allowed_models), "allowed_networks": networks}


class IssuedKey(NamedTuple):
    """A new API key: its row, and its text, which is shown once and never stored."""

    api_key: ApiKey
    text: str


def issue_key(
    *,
    tenant: Tenant,
    name: str,
    now: datetime,
    scopes: Collection[str] | None = None,
    expires_at: datetime | None = None,
    limits: KeyLimits | None = None,
    rotated_from: ApiKey | None = None,
) -> IssuedKey:
    """Make a new key for *tenant*, with every scope unless *scopes* are named.

    Raises:
        UnknownScope: a scope does not exist, or the list is empty.
        UnfitLimit: a limit is not above zero, or a network is none.
    """
    wanted = all_scopes() if scopes is None else list(scopes)
    unknown = sorted(set(wanted) - set(Scope.values))
    if unknown or not wanted:
        known = ", ".join(Scope.values)
        raise UnknownScope(f"scopes: {', '.join(unknown) or 'none given'}; name some of {known}.")
    new = keys.generate()
    api_key = ApiKey.objects.create(
        tenant=tenant,
        name=name,
        public_id=new.public_id,
        digest=keys.digest(new.text, settings.KEY_PEPPER),
        scopes=wanted,
        expires_at=expires_at,
        rotated_from=rotated_from,
        created_at=now,
        **(limits or KeyLimits()).fit(),
    )
    return IssuedKey(api_key, new.text)


@transaction.atomic
def revoke_key(*, api_key: ApiKey, now: datetime) -> None:
    """Revoke *api_key* at once: every gateway stops taking it within a second. Idempotent."""
    locked = ApiKey.objects.select_for_update().get(pk=api_key.pk)
    if locked.revoked_at is None or locked.revoked_at > now:
        locked.revoked_at = now
        locked.save(update_fields=["revoked_at"])


@transaction.atomic
def rotate_key(*, api_key: ApiKey, now: datetime, overlap: timedelta) -> IssuedKey:
    """Issue a successor with the same name, scopes and limits; the old key works on for *overlap*.

    Raises:
        KeyNotUsable: the key is revoked or expired already.
    """
    old = ApiKey.objects.select_for_update().select_related("tenant").get(pk=api_key.pk)
    if not ApiKey.objects.usable(now).filter(pk=old.pk).exists():
        raise KeyNotUsable(f"The key {old} is revoked or expired; issue a new one instead.")
    issued = issue_key(
        tenant=old.tenant,
        name=old.name,
        now=now,
        scopes=old.scopes,
        expires_at=old.expires_at,
        limits=KeyLimits.of(old),
        rotated_from=old,
    )
    end = now + overlap
    old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    old.save(update_fields=["expires_at"])
    return issued


def limit_key(*, api_key: ApiKey, limits: KeyLimits) -> None:
    """Hold *api_key* to *limits* from now on: every gateway knows within a second. Idempotent.

    Raises:
        UnfitLimit: a limit is not above zero, or a network is none.
    """
    ApiKey.objects.filter(pk=api_key.pk).update(**limits.fit())


def note_key_use(*, api_key: ApiKey, now: datetime) -> None:
    """Move the key's `last_used_at` to *now*, at most once a minute however often it is used."""
    due = now - USE_NOTED_EVERY
    if api_key.last_used_at is None or api_key.last_used_at <= due:
        not_noted = models.Q(last_used_at=None) | models.Q(last_used_at__lte=due)
        ApiKey.objects.filter(not_noted, pk=api_key.pk).update(last_used_at=now)


def suspend_tenant(*, tenant: Tenant) -> None:
    """Stop every call of *tenant*; gateways hear of it within a second. Idempotent."""
    Tenant.objects.filter(pk=tenant.pk).update(status=Tenant.Status.SUSPENDED)


def activate_tenant(*, tenant: Tenant) -> None:
    """Let *tenant* call again. Idempotent."""
    Tenant.objects.filter(pk=tenant.pk).update(status=Tenant.Status.ACTIVE)
