"""The figures of many tenants are those of each, in a number of queries that does not grow."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.selectors.savings import add_figures, savings
from billing.selectors.savings_of_many import savings_by_currency, savings_by_tenant
from metering.services.rollups import roll_up
from tenants.models import Tenant
from tests.billing.conftest import IN_DECEMBER, NOVEMBER
from tests.factories.billing import PlanFactory, PriceFactory, SubscriptionFactory, subscribed_tenant
from tests.factories.tenants import TenantFactory
from tests.factories.usage import NOVEMBER_NOON, use

pytestmark = pytest.mark.usefixtures("live_db")
HALF_PAST = NOVEMBER_NOON + timedelta(minutes=30)


def repriced_tenant() -> Tenant:
    """Make a tenant whose price changes in the middle of an hour."""
    plan = PlanFactory.create()
    PriceFactory.create(plan=plan, pool="input", amount=Decimal(1))
    PriceFactory.create(plan=plan, pool="input", amount=Decimal(3), effective_from=HALF_PAST)
    PriceFactory.create(plan=plan, pool="output", amount=Decimal(2))
    return SubscriptionFactory.create(plan=plan).tenant


def use_well(tenant: Tenant) -> None:
    for minutes, outcome in [
        (0, "miss"),
        (29, "exact"),
        (31, "miss"),
        (45, "coalesced"),
        (60 * 30, "semantic"),
    ]:
        use(tenant.pk, occurred_at=NOVEMBER_NOON + timedelta(minutes=minutes), outcome=outcome)
    use(tenant.pk, quality="suspect")
    use(tenant.pk, model="unpriced")


@pytest.fixture
def tenants() -> list[Tenant]:
    euros = subscribed_tenant(currency="EUR")
    tenants = [repriced_tenant(), subscribed_tenant(), euros, TenantFactory.create()]
    for tenant in tenants:
        use_well(tenant)
    roll_up(now=IN_DECEMBER)
    use(tenants[0].pk)  # not rolled up yet, so in no figure
    return tenants


def test_each_tenant_has_the_figures_of_its_own_page(tenants: list[Tenant]) -> None:
    many = savings_by_tenant(tenant_ids=[tenant.pk for tenant in tenants], period=NOVEMBER)
    for tenant in tenants:
        own = savings(tenant=tenant, period=NOVEMBER)
        assert many[tenant.pk].currency == own.currency
        assert many[tenant.pk].total == own.total
        assert many[tenant.pk].by_model_and_outcome == own.by_model_and_outcome
    assert many[tenants[0].pk].total.list == 2 * Decimal("0.0012") + 3 * Decimal("0.0032")


def test_only_the_tenants_asked_for_are_told(tenants: list[Tenant]) -> None:
    assert set(savings_by_tenant(tenant_ids=[tenants[1].pk], period=NOVEMBER)) == {tenants[1].pk}
    assert savings_by_tenant(tenant_ids=[], period=NOVEMBER) == {}


def test_tenants_add_up_within_a_currency(tenants: list[Tenant]) -> None:
    own = {tenant.pk: savings(tenant=tenant, period=NOVEMBER) for tenant in tenants}
    by_currency = savings_by_currency(period=NOVEMBER)
    assert set(by_currency) == {"USD", "EUR", None}
    dollars = [one for one in own.values() if one.currency == "USD"]
    assert by_currency["USD"].total == add_figures(one.total for one in dollars)
    assert list(by_currency["USD"].by_day) == list(dollars[0].by_day)


def test_the_number_of_queries_is_that_of_the_plans(
    tenants: list[Tenant], django_assert_max_num_queries: object
) -> None:
    plan = repriced_tenant().subscriptions.get().plan
    for _ in range(12):
        use_well(SubscriptionFactory.create(plan=plan).tenant)
    roll_up(now=IN_DECEMBER)
    with django_assert_max_num_queries(2 + 2 * 4):  # type: ignore[operator]
        savings_by_currency(period=NOVEMBER)
