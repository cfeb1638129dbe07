"""The operator's pages for limits, budgets and alerts."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import Budget, BudgetAlert, Plan
from tenants.models import ApiKey, Tenant, User
from tests.factories.billing import PlanFactory, SubscriptionFactory
from tests.factories.tenants import ApiKeyFactory, TenantFactory

pytestmark = pytest.mark.django_db
PLAN_LIMITS = {"requests_per_minute": "60", "count_hits": "on", "drain_seconds": "5", "drain_tokens": "0"}


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create(slug="acme", name="Acme Ltd")


@pytest.fixture
def plan(tenant: Tenant) -> Plan:
    return SubscriptionFactory.create(tenant=tenant, plan=PlanFactory.create(name="standard")).plan


@pytest.fixture
def key(tenant: Tenant) -> ApiKey:
    return ApiKeyFactory.create(tenant=tenant, name="production")


def lever(row: Plan | ApiKey) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_limits", args=[row.pk])


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def test_a_plans_limits_are_set_and_shown(admin_client: Client, plan: Plan) -> None:
    assert "Hits count too" in admin_client.get(lever(plan)).content.decode()
    answer = admin_client.post(lever(plan), PLAN_LIMITS, follow=True).content.decode()
    assert "The limits of standard are set." in answer
    plan.refresh_from_db()
    assert (plan.requests_per_minute, plan.tokens_per_minute, plan.count_hits, plan.drain_seconds) == (
        60,
        None,
        True,
        5,
    )
    again = admin_client.get(lever(plan)).content.decode()
    assert 'value="60"' in again


@pytest.mark.parametrize(
    "change", [{"requests_per_minute": "0"}, {"max_body_bytes": "x"}, {"drain_seconds": "-1"}]
)
def test_a_limit_that_limits_nothing_is_refused(
    admin_client: Client, plan: Plan, change: dict[str, str]
) -> None:
    assert admin_client.post(lever(plan), PLAN_LIMITS | change).status_code == 200
    plan.refresh_from_db()
    assert plan.requests_per_minute is None


def test_a_keys_limits_are_set_and_shown(admin_client: Client, key: ApiKey) -> None:
    form = {
        "tokens_per_minute": "500",
        "allowed_models": "qwen\r\nocr",
        "allowed_networks": "203.0.113.7\r\n::/0",
    }
    answer = admin_client.post(lever(key), form, follow=True).content.decode()
    key.refresh_from_db()
    assert (key.tokens_per_minute, key.requests_per_minute) == (500, None)
    assert (key.allowed_models, key.allowed_networks) == (["qwen", "ocr"], ["203.0.113.7/32", "::/0"])
    assert "203.0.113.7/32, ::/0" in answer
    again = admin_client.get(lever(key)).content.decode()
    assert "qwen\nocr" in again
    admin_client.post(lever(key), {})
    key.refresh_from_db()
    assert (key.tokens_per_minute, key.allowed_models) == (None, [])


def test_what_is_no_network_is_said_so(admin_client: Client, key: ApiKey) -> None:
    answer = admin_client.post(lever(key), {"allowed_networks": "10.0.0.1/8"}).content.decode()
    assert "10.0.0.1/8 has host bits set" in answer
    key.refresh_from_db()
    assert key.allowed_networks == []


def test_only_who_may_change_a_plan_or_key_sets_limits(plan: Plan, key: ApiKey) -> None:
    clerk = staff("billing.view_plan", "tenants.view_apikey")
    assert clerk.post(lever(plan), PLAN_LIMITS).status_code == 403
    assert clerk.post(lever(key), {"tokens_per_minute": "1"}).status_code == 403
    key.refresh_from_db()
    assert key.tokens_per_minute is None


class TestBudgets:
    add = "admin:billing_budget_add"

    def form(self, tenant: Tenant, **changes: str) -> dict[str, str]:
        plain = {
            "tenant": str(tenant.pk),
            "api_key": "",
            "period": "month",
            "soft_amount": "80",
            "hard_amount": "100",
        }
        inline = {f"alerts-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
        return plain | {"webhook_url": "", "webhook_secret": "", "email": ""} | inline | changes

    def test_a_budget_is_made_with_a_secret_and_shown_with_its_tenant(
        self, admin_client: Client, tenant: Tenant
    ) -> None:
        form = self.form(tenant, webhook_url="hooks.example/acme")
        assert admin_client.post(reverse(self.add), form).status_code == 302
        budget = Budget.objects.get()
        assert (budget.hard_amount, budget.webhook_url) == (Decimal(100), "https://hooks.example/acme")
        assert len(budget.webhook_secret) >= 32
        page = admin_client.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()
        assert "Budgets" in page
        assert "Month" in page

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"soft_amount": "101"}, "The soft amount is at most the hard one."),
            ({"soft_amount": "", "hard_amount": ""}, "Give a soft amount, a hard one, or both."),
            ({"hard_amount": "-1"}, "greater than or equal to 0"),
            ({"webhook_url": "ftp://hooks.example"}, "http:// or https://"),
        ],
    )
    def test_a_budget_that_makes_no_sense_is_refused_in_words(
        self, admin_client: Client, tenant: Tenant, changes: dict[str, str], message: str
    ) -> None:
        answer = admin_client.post(reverse(self.add), self.form(tenant, **changes))
        assert message in answer.content.decode()
        assert not Budget.objects.exists()

    def test_another_tenants_key_is_refused(self, admin_client: Client, tenant: Tenant) -> None:
        foreign = ApiKeyFactory.create(tenant=TenantFactory.create())
        answer = admin_client.post(reverse(self.add), self.form(tenant, api_key=str(foreign.pk)))
        assert "not one of this tenant&#x27;s" in answer.content.decode()
        assert not Budget.objects.exists()

    def test_a_second_budget_for_the_same_is_refused(self, admin_client: Client, tenant: Tenant) -> None:
        Budget.objects.create(tenant=tenant, hard_amount=Decimal(1))
        answer = admin_client.post(reverse(self.add), self.form(tenant))
        assert answer.status_code == 200
        assert Budget.objects.count() == 1

    def test_alerts_are_listed_and_not_to_be_changed(self, admin_client: Client, tenant: Tenant) -> None:
        budget = Budget.objects.create(tenant=tenant, hard_amount=Decimal(1))
        alert = BudgetAlert.objects.create(
            budget=budget,
            period_start=timezone.now(),
            level="hard",
            spent_amount=Decimal("1.25"),
            problem="busy",
        )
        page = admin_client.get(reverse("admin:billing_budgetalert_changelist")).content.decode()
        assert "1.25" in page
        assert "busy" in page
        change = reverse("admin:billing_budgetalert_change", args=[alert.pk])
        assert admin_client.post(change, {"problem": ""}).status_code == 403
        assert (
            "1.25"
            in admin_client.get(reverse("admin:billing_budget_change", args=[budget.pk])).content.decode()
        )

    def test_a_clerk_without_leave_sees_no_secret(self, tenant: Tenant) -> None:
        budget = Budget.objects.create(tenant=tenant, hard_amount=Decimal(1), webhook_secret="hush-hush")
        page = reverse("admin:billing_budget_change", args=[budget.pk])
        assert staff("tenants.view_tenant").get(page).status_code == 403
        User.objects.all().delete()
        answer = staff("billing.view_budget").get(page)
        assert (answer.status_code, "hush-hush" in answer.content.decode()) == (200, False)
