"""Tenants, the people who act for them, and their API keys."""

import secrets
from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from tenants.networks import validate_network

CACHE_SECRET_BYTES = 32


def new_cache_secret() -> bytes:
    """Make the secret that keys a tenant's answers in the cache."""
    return secrets.token_bytes(CACHE_SECRET_BYTES)


class User(AbstractUser):
    """A person who signs in: an operator (staff), or a member of tenants."""


class Tenant(models.Model):
    """A customer of the provider: who is metered, cached for and invoiced."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.ACTIVE)
    cache_secret = models.BinaryField(default=new_cache_secret, editable=False)
    billing_email = models.EmailField(blank=True)
    billing_address = models.TextField(blank=True, help_text="As it stands on the invoice, line by line.")
    keep_content = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Keep requests, so that the cache can be warmed up with those asked most. Off: none are kept.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=["active", "suspended"]), name="tenant_status_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Member(models.Model):
    """A user's role in a tenant."""

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        FINANCE = "finance"
        VIEWER = "viewer"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=7, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="member_once_per_tenant"),
            models.CheckConstraint(
                condition=models.Q(role__in=["owner", "admin", "finance", "viewer"]), name="member_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class Scope(models.TextChoices):
    """What an API key may do."""

    INFERENCE = "inference", "call models"
    USAGE_READ = "usage:read", "read usage"
    INVOICES_READ = "invoices:read", "read invoices"
    CACHE_WRITE = "cache:write", "invalidate the cache"


def all_scopes() -> list[str]:
    """Return every scope: what a new key may do unless told otherwise."""
    return list(Scope.values)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Filters on API keys."""

    def usable(self, now: datetime) -> "ApiKeyQuerySet":
        """Keep the keys that are neither revoked nor expired at *now*."""
        return self.filter(
            models.Q(revoked_at=None) | models.Q(revoked_at__gt=now),
            models.Q(expires_at=None) | models.Q(expires_at__gt=now),
        )


def limit_field(help_text: str) -> "models.IntegerField[int | None, int | None]":
    """Return a field for a limit: a whole number above zero, or null for none."""
    return models.IntegerField(null=True, blank=True, validators=[MinValueValidator(1)], help_text=help_text)


def limits_positive(*names: str) -> models.Q:
    """Return the condition that each limit is above zero, or none."""
    condition = models.Q()
    for name in names:
        condition &= models.Q(**{name: None}) | models.Q(**{f"{name}__gt": 0})
    return condition


class ApiKey(models.Model):
    """A key that a tenant's programs call with. Only its digest is stored.

    Its limits hold beside those of the tenant's plan.
    """

    LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "max_output_tokens")

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=100)
    public_id = models.CharField(max_length=12, unique=True, editable=False)
    digest = models.BinaryField(unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=13, choices=Scope.choices), default=all_scopes)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    rotated_from = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, editable=False, related_name="rotated_to"
    )
    requests_per_minute = limit_field("Empty: no limit of its own.")
    tokens_per_minute = limit_field("Empty: no limit of its own.")
    concurrent_requests = limit_field("Under way at once. Empty: no limit of its own.")
    max_output_tokens = limit_field("That one call may ask for. Empty: no limit of its own.")
    enable_cache = models.BooleanField(
        default=True, db_default=True, help_text="Off: every call asks the upstream, and nothing is kept."
    )
    allowed_models = ArrayField(
        models.CharField(max_length=200),
        default=list,
        blank=True,
        help_text="Empty: every model of the plan.",
    )
    allowed_networks = ArrayField(
        models.CharField(max_length=43, validators=[validate_network]),
        default=list,
        blank=True,
        help_text="Where it may be used from, as 203.0.113.0/24 or 2001:db8::/32. Empty: anywhere.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        ordering = ["tenant", "name", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    scopes__contained_by=["inference", "usage:read", "invoices:read", "cache:write"]
                )
                & models.Q(scopes__len__gt=0),
                name="api_key_scopes_known",
            ),
            models.CheckConstraint(
                condition=limits_positive(
                    "requests_per_minute", "tokens_per_minute", "concurrent_requests", "max_output_tokens"
                ),
                name="api_key_limits_positive",
            ),
            models.UniqueConstraint(fields=["tenant", "id"], name="api_key_of_tenant"),  # for keys to both
        ]

    def __str__(self) -> str:
        return f"{self.name} (zr_live_{self.public_id}…)"
