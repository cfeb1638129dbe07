"""The operator's pages for plans, invoices and savings: levers call services, and nothing is edited by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.admin.invoices import period_words
from billing.models import CreditNote, HitDiscount, Invoice, Payment, Plan, Price, StripeInvoice, Subscription
from tenants.models import Tenant, User
from tests.billing.invoices import draft_by_hand, open_by_hand
from tests.factories.billing import PlanFactory, PriceFactory, SubscriptionFactory
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create(slug="acme", name="Acme Ltd")


@pytest.fixture
def plan(tenant: Tenant) -> Plan:
    return SubscriptionFactory.create(tenant=tenant, plan=PlanFactory.create(name="standard")).plan


def page_of(row: Plan | Invoice | Tenant) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


def lever(name: str, row: Plan | Invoice | Tenant) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_{name}", args=[row.pk])


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


class TestPlans:
    def test_new_prices_supersede_those_in_force(self, admin_client: Client, plan: Plan) -> None:
        old = PriceFactory.create(plan=plan, model="qwen", pool="input", amount=Decimal("0.50"))
        form = {"model": "qwen", "per": "1000000", "input": "0.40", "output": "1.2"}
        answer = admin_client.post(lever("set-prices", plan), form, follow=True).content.decode()
        assert "The new prices of qwen are set." in answer
        old.refresh_from_db()
        assert old.amount == Decimal("0.50")
        prices = (
            Price.objects.filter(plan=plan).order_by("effective_from", "pool").values_list("pool", "amount")
        )
        first, *later = prices
        assert first == ("input", Decimal("0.50"))
        assert sorted(later) == [("input", Decimal("0.40")), ("output", Decimal("1.2"))]
        for words in ["0.5 per 1,000,000", "0.4 per 1,000,000", "superseded", "in force"]:
            assert words in answer

    def test_a_price_in_the_past_is_refused_on_the_form(self, admin_client: Client, plan: Plan) -> None:
        PriceFactory.create(plan=plan, model="qwen", pool="input")
        form = {"model": "qwen", "per": "1000", "input": "9", "output": "9"}
        form |= {"effective_from_0": "2026-01-01", "effective_from_1": "00:00:00"}
        answer = admin_client.post(lever("set-prices", plan), form)
        assert answer.status_code == 200
        assert "is past, and usage was rated since" in answer.content.decode()
        assert Price.objects.count() == 1  # not even the pool that might have had it

    def test_a_price_to_come_is_shown_as_such(self, admin_client: Client, plan: Plan) -> None:
        soon = timezone.now() + timedelta(days=2)
        form = {"model": "qwen", "per": "1", "units": "0.001"}
        form |= {"effective_from_0": f"{soon:%Y-%m-%d}", "effective_from_1": "00:00:00"}
        assert "to come" in admin_client.post(lever("set-prices", plan), form, follow=True).content.decode()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({}, "at least one pool"),
            ({"input": "-1"}, "greater than or equal to 0"),
            ({"input": "0.0000000000001"}, "no more than 12 decimal places"),
            ({"input": "1e400"}, "input"),
        ],
    )
    def test_an_impossible_price_is_refused(
        self, admin_client: Client, plan: Plan, change: dict[str, str], message: str
    ) -> None:
        answer = admin_client.post(lever("set-prices", plan), {"model": "qwen", "per": "1000000"} | change)
        assert message in answer.content.decode()
        assert not Price.objects.exists()

    def test_a_hit_discount_is_set_and_superseded(self, admin_client: Client, plan: Plan) -> None:
        admin_client.post(lever("set-hit-discount", plan), {"outcome": "semantic", "percent": "80"})
        form = {"outcome": "semantic", "percent": "50", "model": "", "pool": ""}
        answer = admin_client.post(lever("set-hit-discount", plan), form, follow=True).content.decode()
        assert "50 %" in answer
        assert sorted(HitDiscount.objects.values_list("percent", flat=True)) == [50, 80]
        answer = admin_client.post(
            lever("set-hit-discount", plan), form | {"percent": "101"}
        ).content.decode()
        assert "less than or equal to 100" in answer

    def test_rows_in_force_cannot_be_edited_through_the_plan(self, admin_client: Client, plan: Plan) -> None:
        price = PriceFactory.create(plan=plan)
        form = {"prices-TOTAL_FORMS": "1", "prices-INITIAL_FORMS": "1", "prices-0-id": str(price.pk)}
        form |= {"prices-0-plan": str(plan.pk), "prices-0-amount": "0", "prices-0-DELETE": "on"}
        form |= {"hit_discounts-TOTAL_FORMS": "0", "hit_discounts-INITIAL_FORMS": "0", "currency": "EUR"}
        admin_client.post(page_of(plan), form)
        price.refresh_from_db()
        plan.refresh_from_db()
        assert (price.amount, plan.currency) == (Decimal("0.50"), "USD")

    def test_what_the_database_refuses_is_an_error_on_the_page(self, admin_client: Client) -> None:
        plan = PlanFactory.create()
        PriceFactory.create(plan=plan)
        answer = admin_client.post(reverse("admin:billing_plan_delete", args=[plan.pk]), {"post": "yes"})
        assert answer.status_code == 200
        assert Plan.objects.filter(pk=plan.pk).exists()

    def test_an_unknown_currency_is_refused(self, admin_client: Client) -> None:
        answer = admin_client.post(reverse("admin:billing_plan_add"), {"name": "odd", "currency": "XXZ"})
        assert "is not an ISO 4217 currency code" in answer.content.decode()
        assert not Plan.objects.exists()

    def test_levers_need_their_permission(self, plan: Plan) -> None:
        client = staff("billing.view_plan", "billing.change_plan")
        assert lever("set-prices", plan) not in client.get(page_of(plan)).content.decode()
        form = {"model": "qwen", "per": "1000000", "input": "0"}
        assert client.post(lever("set-prices", plan), form).status_code == 403
        assert not Price.objects.exists()


class TestSubscriptions:
    def test_a_tenant_is_put_on_a_plan_from_its_page(self, admin_client: Client, tenant: Tenant) -> None:
        plan, other = PlanFactory.create(name="standard"), TenantFactory.create()
        admin_client.post(lever("change-plan", tenant), {"plan": str(plan.pk)})
        assert [(held.tenant, held.plan) for held in Subscription.objects.all()] == [(tenant, plan)]
        listed = admin_client.get(reverse("admin:tenants_tenant_changelist")).content.decode()
        assert listed.count(">standard<") == 1
        assert other.name in listed

    def test_another_currency_is_refused_on_the_form(
        self, admin_client: Client, tenant: Tenant, plan: Plan
    ) -> None:
        euros = PlanFactory.create(currency="EUR")
        answer = admin_client.post(lever("change-plan", tenant), {"plan": str(euros.pk)})
        assert "make a tenant of its own" in answer.content.decode()
        assert Subscription.objects.count() == 1


class TestInvoices:
    def test_the_page_shows_every_line_and_nothing_to_type(
        self, admin_client: Client, tenant: Tenant
    ) -> None:
        page = admin_client.get(page_of(open_by_hand(tenant))).content.decode()
        for words in [
            "2,469,120,000",
            "0.5 per 1,000,000",
            "1,234.56 USD",
            "765.44 USD",
            "0.00 USD",
            "2,000.00 USD",
            "exact hit",
            "quarantined, not charged: A detail larger than its whole.",
        ]:
            assert words in page
        assert 'name="_save"' not in page
        assert '<input type="text"' not in page

    @pytest.mark.parametrize("status", ["draft", "open"])
    def test_no_invoice_is_added_edited_or_deleted_by_hand(
        self, admin_client: Client, tenant: Tenant, status: str
    ) -> None:
        invoice = draft_by_hand(tenant) if status == "draft" else open_by_hand(tenant)
        before = Invoice.objects.values().get()
        assert admin_client.get(reverse("admin:billing_invoice_add")).status_code == 403
        assert admin_client.post(page_of(invoice), {"net_minor": "1"}).status_code == 403
        delete = reverse("admin:billing_invoice_delete", args=[invoice.pk])
        assert admin_client.post(delete, {"post": "yes"}).status_code == 403
        assert Invoice.objects.values().get() == before

    @pytest.mark.parametrize(
        ("status", "offered"),
        [
            ("draft", {"refresh", "finalise"}),
            ("open", {"record-payment", "credit", "verify", "uncollectible", "void"}),
        ],
    )
    def test_the_status_decides_which_levers_there_are(
        self, admin_client: Client, tenant: Tenant, status: str, offered: set[str]
    ) -> None:
        invoice = draft_by_hand(tenant) if status == "draft" else open_by_hand(tenant)
        page = admin_client.get(page_of(invoice)).content.decode()
        names = {"refresh", "finalise", "record-payment", "credit", "verify", "push", "uncollectible", "void"}
        assert {name for name in names if lever(name, invoice) in page} == offered

    def test_finalising_takes_a_number_and_cannot_be_done_twice(
        self, admin_client: Client, tenant: Tenant
    ) -> None:
        invoice = draft_by_hand(tenant)
        answer = admin_client.post(lever("finalise", invoice), follow=True).content.decode()
        invoice.refresh_from_db()
        assert invoice.status == "open"
        assert f"Invoice {invoice.number} is open." in answer
        again = admin_client.post(lever("finalise", invoice), follow=True).content.decode()
        assert "does not apply" in again

    def test_payments_are_recorded_until_it_is_paid(self, admin_client: Client, tenant: Tenant) -> None:
        invoice = open_by_hand(tenant)
        form = {
            "amount": "1000.00",
            "method": "bank_transfer",
            "reference": "A1",
            "received_at_0": "2026-12-05",
            "received_at_1": "10:00:00",
        }
        page = admin_client.post(lever("record-payment", invoice), form, follow=True).content.decode()
        assert "-1,000.00 USD" in page
        assert "234.56 USD" in page
        too_much = admin_client.post(lever("record-payment", invoice), form | {"reference": "A2"})
        assert "owes 234.56 USD" in too_much.content.decode()
        admin_client.post(lever("record-payment", invoice), form | {"reference": "A3", "amount": "234.56"})
        invoice.refresh_from_db()
        assert invoice.status == "paid"
        assert Payment.objects.count() == 2

    @pytest.mark.parametrize("amount", ["0.001", "-5", "0", "lots", "1e30"])
    def test_an_amount_that_is_no_money_is_refused(
        self, admin_client: Client, tenant: Tenant, amount: str
    ) -> None:
        invoice = open_by_hand(tenant)
        form = {
            "amount": amount,
            "method": "cash",
            "received_at_0": "2026-12-05",
            "received_at_1": "10:00:00",
        }
        assert admin_client.post(lever("record-payment", invoice), form).status_code == 200
        assert not Payment.objects.exists()

    def test_a_credit_note_gives_money_back(self, admin_client: Client, tenant: Tenant) -> None:
        invoice = open_by_hand(tenant)
        form = {"amount": "234.56", "reason": "A slow week"}
        page = admin_client.post(lever("credit", invoice), form, follow=True).content.decode()
        note = CreditNote.objects.get()
        assert note.net_minor == 23_456
        assert f"Credit note {note.number} gives back 234.56 USD." in page
        assert "A slow week" in page
        shown = admin_client.get(reverse("admin:billing_creditnote_change", args=[note.pk])).content.decode()
        assert "234.56 USD" in shown
        refused = admin_client.post(lever("credit", invoice), form | {"amount": "1000.01"}).content.decode()
        assert "cannot be credited" in refused

    @pytest.mark.parametrize(("name", "status"), [("void", "void"), ("uncollectible", "uncollectible")])
    def test_an_invoice_is_ended_otherwise(
        self, admin_client: Client, tenant: Tenant, name: str, status: str
    ) -> None:
        invoice, other = open_by_hand(tenant), open_by_hand(TenantFactory.create())
        admin_client.post(lever(name, invoice))
        invoice.refresh_from_db()
        other.refresh_from_db()
        assert (invoice.status, other.status) == (status, "open")

    def test_it_is_downloaded_as_pdf_and_shown_as_html(self, admin_client: Client, tenant: Tenant) -> None:
        invoice = open_by_hand(tenant)
        pdf = admin_client.get(lever("pdf", invoice))
        assert pdf["Content-Type"] == "application/pdf"
        assert pdf["Content-Disposition"] == f'attachment; filename="{invoice.number}.pdf"'
        assert pdf.content.startswith(b"%PDF-")
        html = admin_client.get(lever("html", invoice)).content.decode()
        assert "1,234.56" in html
        assert "Acme Ltd" in html

    def test_without_stripe_there_is_nothing_to_push(self, admin_client: Client, tenant: Tenant) -> None:
        invoice = open_by_hand(tenant)
        assert "does not apply" in admin_client.post(lever("push", invoice), follow=True).content.decode()
        assert not StripeInvoice.objects.exists()
        assert lever("link-customer", tenant) not in admin_client.get(page_of(tenant)).content.decode()

    def test_staff_who_may_look_pull_no_lever_and_strangers_see_nothing(self, tenant: Tenant) -> None:
        invoice = open_by_hand(tenant)
        client = staff("billing.view_invoice")
        page = client.get(page_of(invoice)).content.decode()
        assert lever("pdf", invoice) in page
        for name in ["void", "record-payment", "credit", "uncollectible"]:
            assert lever(name, invoice) not in page
            assert client.post(lever(name, invoice), {"amount": "1", "reason": "x"}).status_code == 403
        assert Invoice.objects.get().status == "open"
        client.force_login(User.objects.create_user("other", is_staff=True))
        for address in [
            page_of(invoice),
            lever("pdf", invoice),
            lever("html", invoice),
            lever("verify", invoice),
        ]:
            assert client.get(address).status_code == 403

    def test_looking_at_a_lever_changes_nothing(self, admin_client: Client, tenant: Tenant) -> None:
        invoice = open_by_hand(tenant)
        for name in ["void", "record-payment", "credit", "uncollectible", "verify"]:
            assert admin_client.get(lever(name, invoice)).status_code == 200
        assert Invoice.objects.get().status == "open"

    def test_a_list_asks_no_query_for_each_and_says_what_each_is(
        self, admin_client: Client, django_assert_max_num_queries: object
    ) -> None:
        for _ in range(12):
            open_by_hand(TenantFactory.create())
        with django_assert_max_num_queries(10):  # type: ignore[operator]
            page = admin_client.get(reverse("admin:billing_invoice_changelist")).content.decode()
        assert page.count("1,234.56 USD") == 12
        assert page.count("November 2026") == 12

    def test_a_page_asks_no_query_for_each_line(
        self, admin_client: Client, tenant: Tenant, django_assert_max_num_queries: object
    ) -> None:
        invoice = open_by_hand(tenant)
        with django_assert_max_num_queries(12):  # type: ignore[operator]
            admin_client.get(page_of(invoice))


def test_words_of_periods() -> None:
    assert period_words(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)) == "February 2026"
    odd = period_words(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 8, tzinfo=UTC))
    assert odd == "2026-02-01 00:00 – 2026-02-08 00:00 UTC"
