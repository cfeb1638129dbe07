"""Levers whose services read in a snapshot of their own, and what only the database refuses."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from billing.models import Invoice
from cacheproxy.models import Upstream
from metering.services.rollups import roll_up
from tenants.models import Tenant, User
from tests.billing.conftest import IN_DECEMBER, bill, draft
from tests.factories.billing import subscribed_tenant
from tests.factories.usage import use

REFUSE = """
CREATE FUNCTION refuse_for_test() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'this row stays' USING ERRCODE = 'restrict_violation', HINT = 'Make another.'; END $$;
"""


@pytest.fixture
def operator(live_db: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def tenant(live_db: str) -> Tenant:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_000_000, output=0)
    return tenant


@contextmanager
def executing(before: str, after: str) -> Iterator[None]:
    """Run a statement as the database's owner, and undo it."""
    with connection.cursor() as cursor:
        cursor.execute(before)
        try:
            yield
        finally:
            cursor.execute(after)


def refusing(table: str) -> AbstractContextManager[None]:
    """Let a trigger refuse every change of a table."""
    trigger = (
        f"CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_for_test()"
    )
    return executing(REFUSE + trigger, "DROP FUNCTION refuse_for_test CASCADE")


def pull(client: Client, name: str, row: Tenant | Invoice) -> str:
    path = reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_{name}", args=[row.pk])
    return client.post(path, follow=True).content.decode()


def test_a_draft_is_refreshed_with_what_came_since(operator: Client, tenant: Tenant) -> None:
    invoice = draft(tenant)
    assert invoice.net_minor == 50
    use(tenant.pk, input=1_000_000, output=0)
    roll_up(now=IN_DECEMBER)
    assert "The draft is now 1.00 USD." in pull(operator, "refresh", invoice)
    assert Invoice.objects.get().net_minor == 100


def test_a_draft_of_nothing_goes_away(operator: Client, tenant: Tenant) -> None:
    invoice = draft(tenant)
    with executing("DELETE FROM metering_usagerollup", "SELECT 1"):
        assert "the draft is gone" in pull(operator, "refresh", invoice)
    assert not Invoice.objects.exists()


def test_verifying_says_that_it_agrees_or_names_what_does_not(operator: Client, tenant: Tenant) -> None:
    invoice = bill(tenant)
    assert "agrees with its events, to the cent" in pull(operator, "verify", invoice)
    table = "billing_invoiceline"
    with executing(f"ALTER TABLE {table} DISABLE TRIGGER USER", f"ALTER TABLE {table} ENABLE TRIGGER USER"):
        invoice.lines.update(quantity=1_000_001)
    page = pull(operator, "verify", invoice)
    assert "The invoice differs from its events" in page
    assert "the invoice says 1,000,001 in 1 calls" in page


def test_what_the_database_refuses_is_an_error_on_the_form_that_saved_it(operator: Client) -> None:
    upstream = Upstream.objects.create(name="local", protocol="predict", url="http://127.0.0.1:9100")
    form = {"name": "local", "protocol": "predict", "url": "http://127.0.0.1:9200", "timeout_seconds": "5"}
    form |= {"connect_timeout_seconds": "5", "idle_timeout_seconds": "60"}
    form |= {"breaker_failures": "5", "breaker_open_seconds": "10"}
    form |= {"targets-TOTAL_FORMS": "0", "targets-INITIAL_FORMS": "0"}
    with refusing("cacheproxy_upstream"):
        answer = operator.post(reverse("admin:cacheproxy_upstream_change", args=[upstream.pk]), form)
    assert answer.status_code == 200
    assert "This row stays. Make another." in answer.content.decode()
    upstream.refresh_from_db()
    assert upstream.url == "http://127.0.0.1:9100"


def test_what_the_database_refuses_is_an_error_on_the_levers_page(operator: Client, tenant: Tenant) -> None:
    with refusing("tenants_tenant"):
        assert "This row stays. Make another." in pull(operator, "suspend", tenant)
    tenant.refresh_from_db()
    assert tenant.status == "active"
