"""Wrong hits on the operator's pages and in the tenant's API."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from billing.models import Invoice
from metering.models import WrongHit
from tenants.models import Scope, User
from tests.billing.api.conftest import caller
from tests.billing.conftest import bill
from tests.factories.billing import subscribed_tenant
from tests.factories.tenants import TenantFactory
from tests.factories.usage import prove_wrong, use

pytestmark = pytest.mark.usefixtures("live_db")
LIST = "admin:metering_wronghit_changelist"
PAGE = "admin:metering_wronghit_change"


@pytest.fixture
def clerk(live_db: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    for app, codename in (("metering", "view_wronghit"), ("billing", "view_invoice")):
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def credited() -> tuple[WrongHit, Invoice]:
    tenant = subscribed_tenant()
    proof = prove_wrong(use(tenant.pk, outcome="semantic", input=1_000_000, output=0))
    return proof, bill(tenant)


def test_the_list_says_what_came_back_and_where(clerk: Client) -> None:
    proof, invoice = credited()
    waiting = prove_wrong(use(subscribed_tenant().pk, outcome="semantic", model="ocr"))
    page = clerk.get(reverse(LIST)).content.decode()
    for words in (str(proof.event_id), "0.970, score 0.995", "0.1 USD", invoice.number, proof.reason):
        assert str(words) in page
    assert str(waiting.event_id) in page
    assert "not yet" in page


def test_the_list_is_narrowed_to_a_tenant_and_a_model(clerk: Client) -> None:
    proof, _ = credited()
    other = prove_wrong(use(subscribed_tenant().pk, outcome="semantic", model="ocr"))
    for narrowed in ({"tenant__id__exact": other.tenant_id}, {"model": "ocr"}):
        page = clerk.get(reverse(LIST), narrowed).content.decode()
        assert (str(other.event_id) in page, str(proof.event_id) in page) == (True, False)


def test_nothing_of_it_can_be_changed(admin_client: Client) -> None:
    proof, _ = credited()
    page = reverse(PAGE, args=[proof.pk])
    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page, {"reason": "none"}).status_code == 403
    assert admin_client.get(reverse("admin:metering_wronghit_add")).status_code == 403


def test_the_list_asks_no_query_for_each(clerk: Client, django_assert_max_num_queries: object) -> None:
    tenant = subscribed_tenant()
    for _ in range(6):
        prove_wrong(use(tenant.pk, outcome="semantic", input=1_000_000, output=0))
    bill(tenant)
    with django_assert_max_num_queries(16):  # type: ignore[operator]
        clerk.get(reverse(LIST))


def test_an_invoices_page_names_the_hits(clerk: Client) -> None:
    proof, invoice = credited()
    page = clerk.get(reverse("admin:billing_invoice_change", args=[invoice.pk])).content.decode()
    for words in (
        "credit for wrong hits of November 2026",
        str(proof.event_id),
        reverse(PAGE, args=[proof.pk]),
    ):
        assert words in page


def test_the_api_names_the_hits_of_ones_own_invoice() -> None:
    proof, invoice = credited()
    own = caller(proof.tenant, Scope.INVOICES_READ).client.get(f"/api/v1/invoices/{invoice.number}").json()
    assert own["lines"][-1]["kind"] == "wrong_hit"
    assert own["lines"][-1]["charged"]["amount"] == "-0.10"
    assert own["lines"][-1]["original_period_start"] == "2026-11-01T00:00:00Z"
    (hit,) = own["wrong_hits"]
    assert hit.pop("occurred_at").startswith("2026-11-10T12:00:00")
    assert hit.pop("detected_at")
    assert hit == {
        "event_id": str(proof.event_id),
        "model": "qwen",
        "source_event": str(proof.source_event),
        "reason": proof.reason,
        "charged_accrued": "0.1",
    }
    stranger = caller(TenantFactory.create(), Scope.INVOICES_READ)
    assert stranger.client.get(f"/api/v1/invoices/{invoice.number}").status_code == 404
