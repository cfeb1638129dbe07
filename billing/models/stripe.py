"""What Stripe knows of ours, and what it told us."""

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models.functions import Now

from billing.models.invoices import Invoice


class StripeCustomer(models.Model):
    """The Stripe customer of a tenant."""

    tenant = models.OneToOneField("tenants.Tenant", on_delete=models.PROTECT, related_name="stripe_customer")
    customer_id = models.CharField(max_length=255, unique=True)
    linked_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.customer_id


class StripeInvoiceQuerySet(models.QuerySet["StripeInvoice"]):
    """Filters on invoices at Stripe."""

    def out_of_step(self) -> Self:
        """Keep the pushed ones whose end one side knows and the other does not."""
        ours, theirs = "invoice__status__in", "stripe_status__in"
        return self.filter(
            models.Q(**{ours: ["open"], theirs: ["paid", "void", "uncollectible"]})
            | models.Q(**{ours: ["paid", "void"], theirs: ["open", "uncollectible"]})
            | models.Q(**{ours: ["uncollectible"], theirs: ["open", "paid", "void"]}),
            state=StripeInvoice.State.PUSHED,
        )


class StripeInvoice(models.Model):
    """A finalised invoice on its way to Stripe."""

    class State(models.TextChoices):
        PENDING = "pending"
        PUSHED = "pushed"
        PARKED = "parked"

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="stripe_invoice")
    stripe_id = models.CharField(max_length=255, unique=True, null=True)
    state = models.CharField(max_length=7, choices=State.choices, default=State.PENDING)
    problem = models.TextField(
        blank=True, default="", help_text="Why it is parked, or why the last try failed."
    )
    tries = models.IntegerField(default=0, help_text="How often Stripe answered and it did not work.")
    stripe_status = models.CharField(
        max_length=13, blank=True, default="", help_text="What Stripe last said: draft, open, paid …"
    )
    pushed_at = models.DateTimeField(null=True)
    hosted_url = models.URLField(max_length=1000, blank=True, default="")

    objects = StripeInvoiceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "pushed", "parked"]),
                name="stripe_invoice_state_known",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="pushed")
                | models.Q(stripe_id__isnull=False, pushed_at__isnull=False),
                name="stripe_invoice_pushed_has_id",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice} ({self.state})"


class StripeWebhookQuerySet(models.QuerySet["StripeWebhook"]):
    """Filters on the inbox."""

    def due(self, now: datetime) -> Self:
        """Keep what waits to be worked and is not claimed, the longest waiting first."""
        waiting = self.filter(worked_at=None, due_at__lte=now, tries__lt=StripeWebhook.TRIES_MAX)
        return waiting.order_by("due_at", "id")


class StripeWebhook(models.Model):
    """One event that Stripe delivered: stored first, worked later."""

    TRIES_MAX = 8

    event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=255)
    payload = models.JSONField()
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    due_at = models.DateTimeField(db_default=Now(), help_text="Not worked before; a claim moves it on.")
    worked_at = models.DateTimeField(null=True)
    tries = models.IntegerField(default=0)
    problem = models.TextField(blank=True, default="")

    objects = StripeWebhookQuerySet.as_manager()

    class Meta:
        ordering = ["-received_at"]
        indexes = [
            models.Index(
                fields=["due_at"], condition=models.Q(worked_at=None), name="stripe_webhook_waiting"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"
