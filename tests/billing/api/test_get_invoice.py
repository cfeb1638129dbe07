"""`GET /api/v1/invoices/{number}`, and the same as PDF and HTML."""

from decimal import Decimal
from io import BytesIO

import pytest
from django.utils import timezone
from pypdf import PdfReader

from billing.models import Invoice, Payment
from metering.periods import month
from tenants.models import Scope
from tests.billing.api.conftest import Caller
from tests.factories.invoices import draft, issue

NUMBER = "INV-2026-000001"
URL = f"/api/v1/invoices/{NUMBER}"
URLS = [URL, f"{URL}.pdf", f"{URL}.html"]
HIT = {
    "outcome": "exact",
    "discount_percent": Decimal(100),
    "net_accrued": Decimal(0),
    "discount_minor": 1_235,
    "net_minor": 0,
}
QUARANTINED = {
    "kind": "quarantined",
    "model": "new",
    "quality": "suspect",
    "reason": "The upstream's usage report contradicts itself.",
    "unit_amount": None,
    "per": None,
    "list_accrued": Decimal(0),
    "net_accrued": Decimal(0),
    "list_minor": 0,
    "net_minor": 0,
}


@pytest.fixture
def invoice(acme: Caller) -> Invoice:
    return issue(acme.tenant, NUMBER, month("2026-10"), {}, HIT, QUARANTINED)


def test_totals_payments_and_what_is_due(acme: Caller, stranger: Caller, invoice: Invoice) -> None:
    Payment.objects.create(invoice=invoice, amount_minor=235, method="cash", received_at=timezone.now())
    found = acme.client.get(URL).json()
    amounts = {
        name: found[name]["amount"] for name in ("list", "saved", "charged", "credited", "paid", "due")
    }
    assert amounts == {
        "list": "24.70",
        "saved": "12.35",
        "charged": "12.35",
        "credited": "0.00",
        "paid": "2.35",
        "due": "10.00",
    }


def test_a_hit_is_shown_at_nothing_with_what_it_saved(
    acme: Caller, stranger: Caller, invoice: Invoice
) -> None:
    line = acme.client.get(URL).json()["lines"][1]
    assert line == {
        "position": 2,
        "kind": "usage",
        "original_period_start": None,
        "model": "qwen",
        "pool": "input",
        "outcome": "exact",
        "quality": "reported",
        "reason": "",
        "calls": 10,
        "quantity": 24_690_000,
        "unit_amount": "0.5",
        "per": 1_000_000,
        "discount_percent": "100",
        "list_accrued": "12.345",
        "charged_accrued": "0",
        "list": {"amount": "12.35", "amount_minor": 1_235, "currency": "USD"},
        "saved": {"amount": "12.35", "amount_minor": 1_235, "currency": "USD"},
        "charged": {"amount": "0.00", "amount_minor": 0, "currency": "USD"},
    }


def test_a_quarantined_line_has_no_price(acme: Caller, stranger: Caller, invoice: Invoice) -> None:
    line = acme.client.get(URL).json()["lines"][2]
    assert (line["kind"], line["unit_amount"], line["per"]) == ("quarantined", None, None)
    assert line["charged"]["amount_minor"] == 0


def test_a_currency_without_cents(acme: Caller, stranger: Caller) -> None:
    issue(acme.tenant, NUMBER, month("2026-10"), {}, currency="JPY")
    assert acme.client.get(URL).json()["charged"] == {
        "amount": "1235",
        "amount_minor": 1_235,
        "currency": "JPY",
    }


def test_the_pdf_is_the_invoice(acme: Caller, stranger: Caller, invoice: Invoice) -> None:
    response = acme.client.get(f"{URL}.pdf")
    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == f'inline; filename="{NUMBER}.pdf"'
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(response.content)).pages)
    assert NUMBER in text
    assert "Acme Ltd" in text


def test_the_html_is_the_invoice_and_loads_nothing(acme: Caller, stranger: Caller, invoice: Invoice) -> None:
    response = acme.client.get(f"{URL}.html")
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert NUMBER in response.text
    assert "<script" not in response.text


@pytest.mark.parametrize("url", URLS)
def test_the_stranger_finds_nothing(acme: Caller, stranger: Caller, invoice: Invoice, url: str) -> None:
    before = Invoice.objects.values().get()
    response = stranger.client.get(url)
    missing = stranger.client.get(url.replace("000001", "000009"))
    assert response.status_code == missing.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "unknown_invoice"
    assert response.text.replace("000001", "000009") == missing.text
    assert Invoice.objects.values().get() == before
    assert acme.client.get(url).status_code == 200


@pytest.mark.parametrize("url", URLS)
def test_it_takes_the_scope_invoices_read(acme: Caller, stranger: Caller, invoice: Invoice, url: str) -> None:
    for caller in (acme, stranger):
        response = caller.with_scope(Scope.USAGE_READ).get(url)
        assert (response.status_code, response.json()["code"]) == (403, "scope_missing")


def test_a_draft_cannot_be_asked_for(acme: Caller, stranger: Caller) -> None:
    invoice = draft(acme.tenant, month("2026-10"))
    for name in ("None", str(invoice.pk)):
        assert acme.client.get(f"/api/v1/invoices/{name}").status_code == 404
