"""Invoices for tests of what happens to them: written by hand up to the draft, final through the service."""

from datetime import UTC, datetime
from decimal import Decimal

from billing.models import Invoice, InvoiceLine
from billing.services.invoicing import finalise_invoice
from tenants.models import Tenant

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
FINALISED_AT = datetime(2026, 12, 2, tzinfo=UTC)


def draft_by_hand(tenant: Tenant, *, start: datetime = NOVEMBER, end: datetime = DECEMBER) -> Invoice:
    """Write a draft of three lines: input computed, the same input as exact hits, and quarantined output."""
    invoice = Invoice.objects.create(
        tenant=tenant,
        period_start=start,
        period_end=end,
        currency="USD",
        list_minor=200_000,
        discount_minor=76_544,
        net_minor=123_456,
        usage_watermark=1,
        priced_at=end,
        price_book_version="0" * 64,
        drafted_at=end,
    )
    priced = {"unit_amount": Decimal("0.50"), "per": 1_000_000, "pool": "input", "quality": "reported"}
    lines = [
        {"outcome": "miss", "quantity": 2_469_120_000, "list_minor": 123_456, "net_minor": 123_456} | priced,
        {
            "outcome": "exact",
            "quantity": 1_530_880_000,
            "list_minor": 76_544,
            "discount_minor": 76_544,
            "discount_percent": 100,
        }
        | priced,
        {
            "kind": "quarantined",
            "outcome": "miss",
            "quality": "suspect",
            "pool": "output",
            "quantity": 5,
            "reason": "A detail larger than its whole.",
        },
    ]
    for position, line in enumerate(lines, start=1):
        InvoiceLine.objects.create(invoice=invoice, position=position, model="qwen", calls=3, **line)
    return invoice


def open_by_hand(tenant: Tenant, *, start: datetime = NOVEMBER, end: datetime = DECEMBER) -> Invoice:
    """Write such a draft and finalise it."""
    return finalise_invoice(invoice=draft_by_hand(tenant, start=start, end=end), now=FINALISED_AT)
