"""Invoices with a number, as if they had been drafted and finalised."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from billing.models import Invoice, InvoiceLine
from metering.periods import Period
from tenants.models import Tenant

LINE: dict[str, Any] = {
    "model": "qwen",
    "pool": "input",
    "outcome": "miss",
    "quality": "reported",
    "calls": 10,
    "quantity": 24_690_000,
    "unit_amount": Decimal("0.50"),
    "per": 1_000_000,
    "list_accrued": Decimal("12.345"),
    "net_accrued": Decimal("12.345"),
    "list_minor": 1_235,
    "discount_minor": 0,
    "net_minor": 1_235,
}


def draft(tenant: Tenant, period: Period, *lines: dict[str, Any], **changes: Any) -> Invoice:
    """Save a draft with the lines, each given as what it has other than `LINE`."""
    full = [LINE | line for line in lines]
    totals = {
        name: sum(line[name] for line in full) for name in ("list_minor", "discount_minor", "net_minor")
    }
    now = timezone.now()
    plain: dict[str, Any] = {
        "tenant": tenant,
        "period_start": period.start,
        "period_end": period.end,
        "currency": "USD",
        "usage_watermark": 0,
        "priced_at": now,
        "price_book_version": "0" * 64,
        "drafted_at": now,
    }
    invoice = Invoice.objects.create(**plain | totals | changes)
    InvoiceLine.objects.bulk_create(
        InvoiceLine(invoice=invoice, position=position, **line) for position, line in enumerate(full, 1)
    )
    return invoice


def issue(tenant: Tenant, number: str, period: Period, *lines: dict[str, Any], **changes: Any) -> Invoice:
    """Save an open invoice."""
    invoice = draft(tenant, period, *lines, **changes)
    now = timezone.now()
    invoice.number, invoice.status, invoice.finalised_at = number, Invoice.Status.OPEN, now
    invoice.due_at = now + timedelta(days=30)
    invoice.save()
    return invoice
