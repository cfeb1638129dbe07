"""A fake Stripe that the settings point at, and invoices to push to it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import stripe
from pytest_django import Settings

from billing.models import Invoice, InvoiceLine
from tenants.models import Tenant
from tests.fakes.stripe.server import FakeStripe

NOW = datetime(2026, 12, 2, 3, tzinfo=UTC)
MISS = {"outcome": "miss", "list_minor": 1234, "discount_minor": 0, "net_minor": 1234}
HIT = {"outcome": "exact", "list_minor": 400, "discount_minor": 400, "net_minor": 0}

MakeInvoice = Callable[..., Invoice]


@pytest.fixture
def fake_stripe(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStripe]:
    """Give a fake Stripe that the gateway speaks to; its client waits no half second between retries."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.001)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0.001)
    with FakeStripe(clock=NOW.timestamp) as fake:
        settings.STRIPE_API_KEY = fake.api_key
        settings.STRIPE_API_BASE = fake.url
        settings.STRIPE_WEBHOOK_SECRET = fake.webhook_secret
        yield fake


@pytest.fixture
def tenant(db: None) -> Tenant:
    """Give a tenant with an address for invoices."""
    return Tenant.objects.create(slug="acme", name="Acme Ltd", billing_email="billing@acme.example")


@pytest.fixture
def make_invoice(tenant: Tenant) -> MakeInvoice:
    """Give a maker of open invoices: a line for each dictionary of amounts."""
    serials = count(1)

    def make(*lines: dict[str, Any], owner: Tenant = tenant, currency: str = "USD") -> Invoice:
        serial = next(serials)
        start = datetime(2026, serial, 1, tzinfo=UTC)
        invoice = Invoice.objects.create(
            tenant=owner,
            period_start=start,
            period_end=start + timedelta(days=28),
            currency=currency,
            usage_watermark=0,
            priced_at=start,
            price_book_version="1",
            drafted_at=NOW,
        )
        for position, line in enumerate(lines or (MISS, HIT)):
            _add_line(invoice, position, line)
        return _open(invoice, f"ZR-{serial:06}")

    return make


def _add_line(invoice: Invoice, position: int, line: dict[str, Any]) -> None:
    usual = {
        "model": "ocr",
        "pool": "input",
        "quality": "reported",
        "quantity": 12_345,
        "calls": 3,
        "per": 1000,
    }
    InvoiceLine.objects.create(invoice=invoice, position=position, unit_amount="0.1", **(usual | line))


def _open(invoice: Invoice, number: str) -> Invoice:
    for name in ("list_minor", "discount_minor", "net_minor"):
        setattr(invoice, name, sum(getattr(line, name) for line in invoice.lines.all()))
    invoice.status, invoice.number = Invoice.Status.OPEN, number
    invoice.finalised_at, invoice.due_at = NOW, NOW + timedelta(days=30)
    invoice.save()
    return invoice
