"""The price book: plans, their prices and their hit discounts, all effective-dated.

Triggers (migration 0003) freeze what is in force: a price or discount is superseded by a later row, never
edited, and a successor does not start in the past once the plan is subscribed to.
"""

from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from tenants.models import limit_field, limits_positive


class PricedPool(models.TextChoices):
    """What a price is for: a token pool, or the units of a model that counts no tokens."""

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_1H = "cache_write_1h"
    OUTPUT = "output"
    UNITS = "units"


POOL_KNOWN = models.Q(pool__in=["input", "cache_read", "cache_write", "cache_write_1h", "output", "units"])


class Plan(models.Model):
    """What tenants subscribe to: a currency, prices, hit discounts, and limits for each tenant."""

    LIMITS = (
        "requests_per_minute",
        "tokens_per_minute",
        "concurrent_requests",
        "max_output_tokens",
        "max_body_bytes",
        "count_hits",
        "enable_cache",
        "drain_seconds",
        "drain_tokens",
    )

    name = models.SlugField(max_length=63, unique=True)
    currency = models.CharField(max_length=3, help_text="ISO 4217, as USD.")
    requests_per_minute = limit_field("Of a tenant. Empty: no limit.")
    tokens_per_minute = limit_field("Of a tenant, in and out. Empty: no limit.")
    concurrent_requests = limit_field("Of a tenant, under way at once. Empty: no limit.")
    max_output_tokens = limit_field("That one call may ask for. Empty: no limit.")
    max_body_bytes = limit_field("Of one request. Empty: the gateway's own bound.")
    count_hits = models.BooleanField(
        db_default=False, default=False, help_text="Whether hits count towards the limits too."
    )
    enable_cache = models.BooleanField(
        db_default=True, default=True, help_text="Off: every call asks the upstream, and nothing is kept."
    )
    drain_seconds = models.IntegerField(
        default=30,
        db_default=30,
        validators=[MinValueValidator(0)],
        help_text="How long an upstream is read on after the client hung up.",
    )
    drain_tokens = models.IntegerField(
        default=4096,
        db_default=4096,
        validators=[MinValueValidator(0)],
        help_text="For how many streamed tokens an upstream is read on after the client hung up.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(currency__regex="^[A-Z]{3}$"), name="plan_currency_iso"
            ),
            models.CheckConstraint(
                condition=limits_positive(
                    "requests_per_minute",
                    "tokens_per_minute",
                    "concurrent_requests",
                    "max_output_tokens",
                    "max_body_bytes",
                ),
                name="plan_limits_positive",
            ),
            models.CheckConstraint(
                condition=models.Q(drain_seconds__gte=0, drain_tokens__gte=0),
                name="plan_drain_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Price(models.Model):
    """What a pool of a model costs in a plan from an instant on: ``amount`` for ``per`` tokens or units."""

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="prices")
    model = models.TextField(help_text="The name that customers use.")
    pool = models.CharField(max_length=14, choices=PricedPool.choices)
    amount = models.DecimalField(max_digits=24, decimal_places=12, validators=[MinValueValidator(Decimal(0))])
    per = models.BigIntegerField(
        default=1_000_000, help_text="Tokens or units that the amount buys; a power of ten."
    )
    effective_from = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["plan", "model", "pool", "-effective_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["plan", "model", "pool", "effective_from"], name="price_once_per_instant"
            ),
            models.CheckConstraint(condition=POOL_KNOWN, name="price_pool_known"),
            models.CheckConstraint(condition=models.Q(amount__gte=0), name="price_amount_not_negative"),
            models.CheckConstraint(
                condition=models.Q(per__in=[10**power for power in range(13)]), name="price_per_power_of_ten"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.pool}: {self.amount.normalize():f} per {self.per:,}"


class HitDiscount(models.Model):
    """What a kind of hit costs less than a miss, in percent off the list price.

    Empty ``model`` or ``pool`` means all; the most specific row wins: model and pool, then model, then
    pool, then the plan's.
    """

    class Outcome(models.TextChoices):
        EXACT = "exact"
        COALESCED = "coalesced"
        SEMANTIC = "semantic"

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="hit_discounts")
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    model = models.TextField(blank=True, default="", help_text="Empty: every model.")
    pool = models.CharField(
        max_length=14, choices=PricedPool.choices, blank=True, default="", help_text="Empty: all."
    )
    percent = models.DecimalField(max_digits=7, decimal_places=4)
    effective_from = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["plan", "outcome", "model", "pool", "-effective_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["plan", "outcome", "model", "pool", "effective_from"],
                name="hit_discount_once_per_instant",
            ),
            models.CheckConstraint(
                condition=models.Q(outcome__in=["exact", "coalesced", "semantic"]),
                name="hit_discount_outcome_known",
            ),
            models.CheckConstraint(condition=POOL_KNOWN | models.Q(pool=""), name="hit_discount_pool_known"),
            models.CheckConstraint(
                condition=models.Q(percent__gte=0, percent__lte=100), name="hit_discount_percent_in_range"
            ),
        ]

    def __str__(self) -> str:
        scope = " ".join(filter(None, (self.model, self.pool))) or "everything"
        return f"{self.outcome} hits of {scope}: {self.percent.normalize():f} % off"
