"""The operator's levers for Stripe, pulled over HTTP against the fake."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import Invoice, StripeCustomer, StripeInvoice, StripeWebhook
from tenants.models import Tenant
from tests.billing.stripe.conftest import MakeInvoice
from tests.fakes.stripe.server import FakeStripe

pytestmark = pytest.mark.django_db


def pull(client: Client, name: str, row: Tenant | Invoice | StripeWebhook, **form: str) -> str:
    path = reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_{name}", args=[row.pk])
    return client.post(path, form, follow=True).content.decode()


def test_a_tenant_is_linked_and_its_invoice_pushed_once(
    admin_client: Client, fake_stripe: FakeStripe, tenant: Tenant, make_invoice: MakeInvoice
) -> None:
    invoice = make_invoice()
    assert "at Stripe." in pull(admin_client, "link-customer", tenant)
    customer = StripeCustomer.objects.get(tenant=tenant)
    assert customer.customer_id.startswith("cus_")
    page = pull(admin_client, "push", invoice)
    pushed = StripeInvoice.objects.get(invoice=invoice)
    assert pushed.state == "pushed"
    assert f"Stripe has it as {pushed.stripe_id}." in page
    assert "does not apply" in pull(admin_client, "push", invoice)


def test_a_customer_of_another_tenant_is_refused_on_the_form(
    admin_client: Client, fake_stripe: FakeStripe, tenant: Tenant
) -> None:
    stranger = Tenant.objects.create(slug="other", name="Other Ltd")
    pull(admin_client, "link-customer", stranger)
    taken = StripeCustomer.objects.get().customer_id
    assert "is linked to another tenant" in pull(admin_client, "link-customer", tenant, customer_id=taken)
    assert "cus_nobody" in pull(admin_client, "link-customer", tenant, customer_id="cus_nobody")
    assert not StripeCustomer.objects.filter(tenant=tenant).exists()


def test_an_unreachable_stripe_is_an_error_on_the_form(
    admin_client: Client, fake_stripe: FakeStripe, make_invoice: MakeInvoice, settings: object
) -> None:
    invoice = make_invoice()
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"  # type: ignore[attr-defined]
    page = pull(admin_client, "push", invoice)
    assert "errornote" in page
    assert fake_stripe.api_key not in page
    assert invoice.status == "open"


def test_a_webhook_that_was_given_up_is_tried_again(admin_client: Client) -> None:
    webhook = StripeWebhook.objects.create(
        event_id="evt_1", type="invoice.paid", payload={}, tries=StripeWebhook.TRIES_MAX, problem="away"
    )
    assert not StripeWebhook.objects.due(timezone.now()).exists()
    assert "tried again" in pull(admin_client, "try-again", webhook)
    assert list(StripeWebhook.objects.due(timezone.now())) == [webhook]
    assert "does not apply" in pull(admin_client, "try-again", webhook)
