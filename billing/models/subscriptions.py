"""Which plan a tenant is on, and when."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.utils import timezone

from billing.models.catalog import Plan


class Int8Range(models.Func):
    """One id as a range, so that GiST can compare it without an extension."""

    function = "int8range"
    template = "%(function)s(%(expressions)s, %(expressions)s, '[]')"


class InstantRange(models.Func):
    """Two instants as a half-open range; a missing end is infinite."""

    function = "tstzrange"


class Subscription(models.Model):
    """A tenant on a plan over ``[starts_at, ends_at)``; no two overlap."""

    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="subscriptions")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="subscriptions")
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["tenant", "-starts_at"]
        constraints = [
            ExclusionConstraint(
                name="subscription_one_at_a_time",
                expressions=[
                    (Int8Range("tenant"), RangeOperators.OVERLAPS),
                    (InstantRange("starts_at", "ends_at"), RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at=None) | models.Q(ends_at__gt=models.F("starts_at")),
                name="subscription_ends_after_start",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant} on {self.plan}"
