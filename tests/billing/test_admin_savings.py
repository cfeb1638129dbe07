"""The savings page and the overview: figures of the right tenant, and what wants a person."""

import html
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.admin.period_form import PeriodForm
from billing.models import StripeInvoice
from metering.models import RollupProgress, UsageConflict
from metering.periods import Period
from metering.services.rollups import roll_up
from tenants.models import Tenant, User
from tests.billing.invoices import open_by_hand
from tests.factories.billing import subscribed_tenant
from tests.factories.tenants import TenantFactory
from tests.factories.usage import use

pytestmark = pytest.mark.usefixtures("live_db")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def clerk(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def savings_of(tenant: Tenant) -> str:
    return reverse("admin:tenants_tenant_savings", args=[tenant.pk])


def use_today(tenant: Tenant, **changes: object) -> None:
    use(tenant.pk, **{"occurred_at": timezone.now(), "input": 1_000_000, "output": 0} | changes)


def text_of(client: Client, path: str, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def test_the_page_tells_of_its_tenant_only(operator: Client) -> None:
    tenant, stranger = subscribed_tenant(), subscribed_tenant()
    use_today(tenant)
    use_today(tenant, outcome="exact")
    for _ in range(5):
        use_today(stranger, model="ocr", units=700)
    roll_up(now=timezone.now())
    page = text_of(operator, savings_of(tenant))
    for words in ["1.00 USD", "0.50 USD", "50.0 %", "2,000,000", "1,000,000", "exact hit"]:
        assert words in page
    assert "ocr" not in page
    assert "3,500" not in page
    assert f'"{timezone.now():%d %b}"],"datasets":[{{"label":"charged","data":[' in page
    assert page.count('"0.5"]') == 2  # today's bars, charged and saved


def test_a_month_without_usage_says_so(operator: Client) -> None:
    page = text_of(operator, savings_of(subscribed_tenant()), month=f"{timezone.now():%Y-%m}")
    assert "No usage in this period." in page


def test_a_tenant_that_was_never_on_a_plan_has_counts_and_no_money(operator: Client) -> None:
    tenant = TenantFactory.create()
    use_today(tenant)
    roll_up(now=timezone.now())
    page = text_of(operator, savings_of(tenant))
    assert "1,000,000" in page
    assert "List price" not in page
    assert "Quarantined" in page


def test_the_page_needs_permission_to_see_money_and_usage() -> None:
    tenant = subscribed_tenant()
    client = clerk("view_tenant", "view_usagerollup")
    assert client.get(savings_of(tenant)).status_code == 403
    page = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    assert savings_of(tenant) not in client.get(page).content.decode()
    assert client.get(reverse("admin:tenants_tenant_savings", args=[0])).status_code == 403


def test_a_tenant_that_is_not_there_is_not_found(operator: Client) -> None:
    assert operator.get(reverse("admin:tenants_tenant_savings", args=[0])).status_code == 404


def test_the_list_shows_what_each_tenant_saved_without_asking_for_each(
    operator: Client, django_assert_max_num_queries: object
) -> None:
    plan = subscribed_tenant().subscriptions.get().plan
    for _ in range(15):
        tenant = TenantFactory.create()
        tenant.subscriptions.create(plan=plan, starts_at=NOW - timedelta(days=400))
        use_today(tenant, outcome="exact", input=2_000_000)
    roll_up(now=timezone.now())
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        page = text_of(operator, reverse("admin:tenants_tenant_changelist"))
    assert page.count("1.00 USD") == 15


def test_the_overview_adds_up_all_tenants(operator: Client) -> None:
    for tenant in [subscribed_tenant(), subscribed_tenant()]:
        use_today(tenant)
        use_today(tenant, outcome="coalesced")
    use_today(subscribed_tenant(currency="EUR"), input=8_000_000)
    roll_up(now=timezone.now())
    invoice = open_by_hand(TenantFactory.create())
    page = text_of(operator, reverse("admin:index"))
    for words in ["2.00 USD", "1.00 USD", "4.00 EUR", "40.0 %", "12,000,000", "Needs attention"]:
        assert (words in page) is (words != "Needs attention")
    assert str(invoice.number) in page
    assert "1 open, 1,234.56 USD" in page


def test_the_overview_says_what_wants_a_person(operator: Client) -> None:
    tenant = subscribed_tenant()
    assert "never been rolled up" in text_of(operator, reverse("admin:index"))
    use_today(tenant, quality="suspect")
    roll_up(now=timezone.now())
    StripeInvoice.objects.create(invoice=open_by_hand(tenant), state="parked", problem="It differs.")
    for _ in range(2):
        UsageConflict.objects.create(
            tenant=tenant, event_id=uuid4(), recorded_digest=b"", refused_digest=b"", refused={}
        )
    RollupProgress.objects.update(rolled_up_at=timezone.now() - timedelta(hours=1))
    page = text_of(operator, reverse("admin:index"))
    for words in [
        "1 Stripe invoice parked",
        "1 call of this month quarantined",
        "2 usage events refused",
        "Usage was last rolled up at",
    ]:
        assert words in page


def test_the_overview_shows_figures_to_those_who_may_see_all_of_them_only() -> None:
    subscribed_tenant()
    page = text_of(clerk("view_tenant", "view_invoice"), reverse("admin:index"))
    assert "Open invoices" not in page
    assert "List price" not in page


@pytest.mark.parametrize(
    ("asked", "period"),
    [
        ({}, ("2026-11-01", "2026-12-01")),
        ({"month": "2026-02"}, ("2026-02-01", "2026-03-01")),
        ({"month": "", "first": "2026-11-03", "last": "2026-11-03"}, ("2026-11-03", "2026-11-04")),
        ({"month": "2026-02", "first": "2026-10-30", "last": "2026-11-02"}, ("2026-10-30", "2026-11-03")),
    ],
)
def test_periods_that_can_be_asked_for(asked: dict[str, str], period: tuple[str, str]) -> None:
    form = PeriodForm(asked, now=NOW)
    assert form.period() == Period(*(datetime.fromisoformat(day).replace(tzinfo=UTC) for day in period))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"month": "1066-10"}, "Select a valid choice"),
        ({"first": "2026-11-03"}, "Give both days"),
        ({"first": "2026-11-03", "last": "2026-11-02"}, "comes after the first"),
        ({"first": "2020-01-01", "last": "2026-01-01"}, "within 400 days"),
        ({"first": "soon", "last": "later"}, "Enter a valid date"),
    ],
)
def test_periods_that_cannot(operator: Client, asked: dict[str, str], words: str) -> None:
    assert words in text_of(operator, savings_of(subscribed_tenant()), **asked)
