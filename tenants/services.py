"""Changes to tenants and keys."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import models, transaction

from tenants import keys
from tenants.errors import KeyNotUsable, UnknownScope
from tenants.models import ApiKey, Scope, Tenant, all_scopes

USE_NOTED_EVERY = timedelta(minutes=1)


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
    rotated_from: ApiKey | None = None,
) -> IssuedKey:
    """Make a new key for *tenant*, with every scope unless *scopes* are named.

    Raises:
        UnknownScope: a scope does not exist, or the list is empty.
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
    """Issue a successor with the same name and scopes; the old key works on for *overlap*.

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
        rotated_from=old,
    )
    end = now + overlap
    old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    old.save(update_fields=["expires_at"])
    return issued


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
