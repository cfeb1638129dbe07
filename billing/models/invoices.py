"""Invoices, their lines and payments.

Triggers (migration 0003) hold what must always be true: lines change only while the invoice is a draft,
totals are the sums of the lines when it is finalised, the status moves only along
``draft → open → paid | void | uncollectible`` (an uncollectible one may still be paid or voided).
"""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models.functions import Now

from billing.models.catalog import POOL_KNOWN, PricedPool
from billing.models.subscriptions import InstantRange, Int8Range
from metering.models import Outcome, Quality


class Invoice(models.Model):
    """What a tenant owes for one period. Money in minor units of ``currency``."""

    class Status(models.TextChoices):
        DRAFT = "draft"
        OPEN = "open"
        PAID = "paid"
        VOID = "void"
        UNCOLLECTIBLE = "uncollectible"

    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="invoices")
    number = models.CharField(max_length=20, unique=True, null=True, editable=False)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField(help_text="Exclusive.")
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=13, choices=Status.choices, default=Status.DRAFT)
    list_minor = models.BigIntegerField(default=0, verbose_name="list price")
    discount_minor = models.BigIntegerField(default=0, verbose_name="saved")
    net_minor = models.BigIntegerField(default=0, verbose_name="charged")
    usage_watermark = models.BigIntegerField(help_text="Events of transactions below it are on this invoice.")
    priced_at = models.DateTimeField(help_text="Prices written up to here were used.")
    price_book_version = models.CharField(max_length=64, help_text="SHA-256 over the prices that applied.")
    drafted_at = models.DateTimeField()
    finalised_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)
    voided_at = models.DateTimeField(null=True)
    uncollectible_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-period_start", "-number"]
        constraints = [
            ExclusionConstraint(
                name="invoice_one_per_period",
                expressions=[
                    (Int8Range("tenant"), RangeOperators.OVERLAPS),
                    (InstantRange("period_start", "period_end"), RangeOperators.OVERLAPS),
                ],
                condition=~models.Q(status="void"),
            ),
            models.CheckConstraint(
                condition=models.Q(period_end__gt=models.F("period_start")), name="invoice_period_not_empty"
            ),
            models.CheckConstraint(
                condition=models.Q(status="draft", number=None, finalised_at=None)
                | (~models.Q(status="draft") & models.Q(number__isnull=False, finalised_at__isnull=False)),
                name="invoice_numbered_when_finalised",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["draft", "open", "paid", "void", "uncollectible"]),
                name="invoice_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(list_minor=models.F("discount_minor") + models.F("net_minor")),
                name="invoice_charged_and_saved_are_list",
            ),
        ]

    def __str__(self) -> str:
        return self.number or f"draft of {self.tenant} for {self.period_start:%Y-%m}"


class InvoiceLine(models.Model):
    """One model, pool, outcome and price on an invoice; what it would have cost, what it costs."""

    class Kind(models.TextChoices):
        USAGE = "usage"
        LATE_USAGE = "late_usage", "late usage"
        QUARANTINED = "quarantined"
        WRONG_HIT = "wrong_hit", "credit for wrong hits"

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines")
    position = models.IntegerField()
    kind = models.CharField(max_length=11, choices=Kind.choices, default=Kind.USAGE)
    original_period_start = models.DateTimeField(
        null=True, help_text="On late usage and credits: the month it belongs to."
    )
    model = models.TextField()
    pool = models.CharField(max_length=14, choices=PricedPool.choices)
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    quality = models.CharField(max_length=9, choices=Quality.choices)
    reason = models.TextField(blank=True, default="", help_text="Why the usage is quarantined.")
    calls = models.BigIntegerField(default=0)
    quantity = models.BigIntegerField(help_text="Tokens or units served.")
    unit_amount = models.DecimalField(max_digits=24, decimal_places=12, null=True)
    per = models.BigIntegerField(null=True)
    discount_percent = models.DecimalField(max_digits=7, decimal_places=4, default=0)
    list_accrued = models.DecimalField(max_digits=60, decimal_places=30, default=0)
    net_accrued = models.DecimalField(max_digits=60, decimal_places=30, default=0)
    list_minor = models.BigIntegerField(default=0)
    discount_minor = models.BigIntegerField(default=0)
    net_minor = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["invoice", "position"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "position"], name="invoice_line_position_once"),
            models.CheckConstraint(condition=POOL_KNOWN, name="invoice_line_pool_known"),
            models.CheckConstraint(
                condition=models.Q(kind__in=["usage", "late_usage", "quarantined", "wrong_hit"]),
                name="invoice_line_kind_known",
            ),
            models.CheckConstraint(
                condition=models.Q(list_minor=models.F("discount_minor") + models.F("net_minor")),
                name="invoice_line_charged_and_saved_are_list",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind="quarantined") | models.Q(net_minor=0, list_minor=0),
                name="invoice_line_quarantined_is_not_charged",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="quarantined")
                | models.Q(unit_amount__isnull=False, per__isnull=False),
                name="invoice_line_priced",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind="wrong_hit")
                | models.Q(list_minor=0, net_minor__lte=0, original_period_start__isnull=False),
                name="invoice_line_credit_gives_back",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.pool} {self.outcome}"


class InvoiceCounter(models.Model):
    """The next number of a series. Taken in the short transaction that finalises, so there are no gaps."""

    series = models.CharField(max_length=10, primary_key=True)
    next_number = models.BigIntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.series}-{self.next_number:06d}"


class Payment(models.Model):
    """Money received for an invoice, by hand or through Stripe."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payments")
    amount_minor = models.BigIntegerField()
    method = models.CharField(max_length=30, help_text="bank_transfer, cash, stripe …")
    reference = models.CharField(max_length=200, blank=True)
    received_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["invoice", "received_at"]
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_minor__gt=0), name="payment_positive"),
            models.UniqueConstraint(
                fields=["invoice", "method", "reference"],
                condition=~models.Q(reference=""),
                name="payment_reference_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount_minor} for {self.invoice}"
