"""What a tenant, or one of its keys, may spend in a day or a month, and what was told when it did."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from metering import periods

MAX_AMOUNT = Decimal(9_000_000_000)
"""Counters hold billionths of the currency in 64 bits."""
TRIED_FOR = timedelta(days=3)
"""How long an alert is tried to be delivered."""


def amount_field(help_text: str) -> "models.DecimalField[Decimal | None, Decimal | None]":
    """Return a field for an amount of the plan's currency, or none."""
    return models.DecimalField(
        max_digits=24,
        decimal_places=12,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(MAX_AMOUNT)],
        help_text=help_text,
    )


class Budget(models.Model):
    """An amount for each UTC day or month, of a tenant or of one of its keys.

    Passing the soft amount is told to whom it may concern; at the hard amount the gateway refuses calls.
    """

    class Period(models.TextChoices):
        DAY = "day"
        MONTH = "month"

    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="budgets")
    api_key = models.ForeignKey(
        "tenants.ApiKey",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="budgets",
        verbose_name="API key",
        help_text="Empty: of all the tenant's keys together.",
    )
    period = models.CharField(max_length=5, choices=Period.choices, default=Period.MONTH)
    soft_amount = amount_field("In the plan's currency; alerts when it is passed. Empty: none.")
    hard_amount = amount_field("In the plan's currency; calls are refused from there on. Empty: none.")
    webhook_url = models.URLField(blank=True, max_length=500, help_text="Told by a signed POST.")
    webhook_secret = models.CharField(
        blank=True, max_length=100, help_text="Signs what is posted; made where there is none."
    )
    email = models.EmailField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["tenant", "api_key", "period"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "api_key", "period"], name="budget_once", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=models.Q(period__in=["day", "month"]), name="budget_period_known"
            ),
            models.CheckConstraint(
                condition=models.Q(soft_amount__isnull=False) | models.Q(hard_amount__isnull=False),
                name="budget_has_amount",
                violation_error_message="Give a soft amount, a hard one, or both.",
            ),
            models.CheckConstraint(
                condition=models.Q(soft_amount=None)
                | models.Q(hard_amount=None)
                | models.Q(soft_amount__lte=models.F("hard_amount")),
                name="budget_soft_before_hard",
                violation_error_message="The soft amount is at most the hard one.",
            ),
            models.CheckConstraint(
                condition=(models.Q(soft_amount=None) | models.Q(soft_amount__range=(0, MAX_AMOUNT)))
                & (models.Q(hard_amount=None) | models.Q(hard_amount__range=(0, MAX_AMOUNT))),
                name="budget_amounts_in_range",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}{f', {self.api_key}' if self.api_key else ''}, by {self.get_period_display()}"

    def period_at(self, now: datetime) -> periods.Period:
        """Return the day or month that holds *now*."""
        return periods.day_of(now) if self.period == self.Period.DAY else periods.month_of(now)


class BudgetAlertQuerySet(models.QuerySet["BudgetAlert"]):
    """Filters on alerts."""

    def waiting(self, now: datetime) -> "BudgetAlertQuerySet":
        """Keep those of the last days that were not told everywhere yet."""
        return self.filter(delivered_at=None, raised_at__gt=now - TRIED_FOR)


class BudgetAlert(models.Model):
    """That a budget was passed: once for each period and level."""

    class Level(models.TextChoices):
        SOFT = "soft"
        HARD = "hard"

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="alerts")
    period_start = models.DateTimeField()
    level = models.CharField(max_length=4, choices=Level.choices)
    spent_amount = models.DecimalField(max_digits=36, decimal_places=24)
    raised_at = models.DateTimeField(default=timezone.now)
    posted_at = models.DateTimeField(null=True, blank=True, help_text="When the webhook took it.")
    mailed_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True, help_text="When everybody had been told.")
    attempts = models.IntegerField(default=0)
    problem = models.TextField(blank=True, default="")

    objects = BudgetAlertQuerySet.as_manager()

    class Meta:
        ordering = ["-raised_at"]
        constraints = [
            models.UniqueConstraint(fields=["budget", "period_start", "level"], name="budget_alert_once"),
            models.CheckConstraint(
                condition=models.Q(level__in=["soft", "hard"]), name="budget_alert_level_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["raised_at"], name="budget_alert_waiting", condition=models.Q(delivered_at=None)
            )
        ]

    def __str__(self) -> str:
        return f"{self.level} amount of {self.budget}"
