"""The sweeps: what is due is done, one failure does not hold up the rest, and without a key nothing stirs."""

import logging

import pytest
from pytest_django import Settings

from billing import stripe_tasks
from billing.models import Invoice, StripeInvoice, StripeWebhook
from billing.services.collection import link_customer, push_invoice
from billing.services.payments import void_invoice
from tenants.models import Tenant
from tests.billing.stripe.conftest import NOW, MakeInvoice
from tests.fakes.stripe.account import Account
from tests.fakes.stripe.errors import RefusedError
from tests.fakes.stripe.server import FakeStripe, Request, lose_connection

LINES = "POST /v1/invoices/{id}/add_lines"


def refuse(_account: Account, _request: Request) -> None:
    raise RefusedError("No.")


def test_open_invoices_of_linked_tenants_are_pushed(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice
) -> None:
    linked = make_invoice()
    stranger = Tenant.objects.create(slug="stranger", name="Stranger", billing_email="a@b.example")
    make_invoice(owner=stranger)
    link_customer(tenant=linked.tenant)

    stripe_tasks.push_invoices()
    stripe_tasks.push_invoices()

    assert [row.invoice for row in StripeInvoice.objects.filter(state="pushed")] == [linked]
    assert len(fake_stripe.account.invoices) == 1


def test_a_parked_invoice_waits_for_a_person_and_does_not_hold_up_the_next(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, caplog: pytest.LogCaptureFixture
) -> None:
    link_customer(tenant=make_invoice().tenant)
    make_invoice()
    fake_stripe.before[LINES].append(refuse)

    with caplog.at_level(logging.ERROR):
        stripe_tasks.push_invoices()
        stripe_tasks.push_invoices()

    assert sorted(StripeInvoice.objects.values_list("state", flat=True)) == ["parked", "pushed"]
    assert len(fake_stripe.calls(LINES)) == 2


def test_while_stripe_is_away_the_rest_waits(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> None:
    link_customer(tenant=make_invoice().tenant)
    make_invoice()
    fake_stripe.before[LINES].extend([lose_connection] * 3)

    stripe_tasks.push_invoices()
    assert len(fake_stripe.calls(LINES)) == 3
    stripe_tasks.push_invoices()

    assert set(StripeInvoice.objects.values_list("state", flat=True)) == {"pushed"}


def test_what_ended_here_is_told_to_stripe(fake_stripe: FakeStripe, make_invoice: MakeInvoice) -> None:
    row = push_invoice(invoice=make_invoice(), now=NOW)
    make_invoice()
    void_invoice(invoice=row.invoice, now=NOW)

    stripe_tasks.align_invoices()

    assert fake_stripe.account.invoices[row.stripe_id or ""]["status"] == "void"


def test_a_refusal_on_one_row_does_not_hold_up_the_next(
    fake_stripe: FakeStripe, make_invoice: MakeInvoice, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [push_invoice(invoice=make_invoice(), now=NOW) for _ in range(2)]
    for row in rows:
        void_invoice(invoice=row.invoice, now=NOW)
    fake_stripe.before["POST /v1/invoices/{id}/void"].append(refuse)

    with caplog.at_level(logging.ERROR):
        stripe_tasks.align_invoices()
    stripe_tasks.align_invoices()

    assert "stripe_step_failed" in caplog.text
    assert {invoice["status"] for invoice in fake_stripe.account.invoices.values()} == {"void"}


def test_the_inbox_is_swept(fake_stripe: FakeStripe, db: None) -> None:
    StripeWebhook.objects.create(event_id="evt_1", type="customer.created", payload={})

    stripe_tasks.work_webhooks()

    assert StripeWebhook.objects.get().worked_at is not None


def test_without_a_key_nothing_stirs(make_invoice: MakeInvoice, settings: Settings) -> None:
    settings.STRIPE_API_KEY = ""
    make_invoice()
    StripeWebhook.objects.create(event_id="evt_1", type="customer.created", payload={})

    stripe_tasks.push_invoices()
    stripe_tasks.align_invoices()
    stripe_tasks.work_webhooks()

    assert Invoice.objects.get().status == "open"
    assert StripeWebhook.objects.get().worked_at is None
