"""The savings page's figures: served and computed, listed, charged and saved."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from billing.selectors.savings import Savings, savings
from metering.periods import Period
from metering.services.rollups import roll_up
from tenants.models import Tenant
from tests.billing.conftest import IN_DECEMBER, NOVEMBER, bill
from tests.factories.billing import subscribed_tenant
from tests.factories.tenants import TenantFactory
from tests.factories.usage import NOVEMBER_NOON, use

pytestmark = pytest.mark.usefixtures("live_db")


def figures(tenant: Tenant, period: Period = NOVEMBER) -> Savings:
    roll_up(now=IN_DECEMBER)
    return savings(tenant=tenant, period=period)


def test_served_and_computed_are_not_the_same() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, input=1_000, cache_read=500, output=100)
    use(tenant.pk, input=1_000, cache_read=500, output=100, outcome="exact")
    use(tenant.pk, input=1_000, output=0, outcome="semantic")
    use(tenant.pk, input=0, output=0, model="ocr", units=3)
    use(subscribed_tenant().pk)
    total = figures(tenant).total
    assert (total.calls, total.hits, total.misses, total.hit_rate) == (4, 2, 2, Decimal("0.5"))
    assert (total.tokens_served, total.tokens_computed) == (4_200, 1_600)
    assert (total.units_served, total.units_computed) == (3, 3)
    assert total.list == Decimal("0.0005") + 2 * Decimal("0.000675") + Decimal("0.03")
    assert total.saved == Decimal("0.000675") + Decimal("0.0004")
    assert total.charged + total.saved == total.list


def test_every_day_has_its_figures_also_the_quiet_ones() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk)
    use(tenant.pk, occurred_at=NOVEMBER_NOON + timedelta(days=2), outcome="exact")
    days = figures(tenant).by_day
    assert list(days) == [date(2026, 11, day) for day in range(1, 31)]
    assert {day.day: value.calls for day, value in days.items() if value.calls} == {10: 1, 12: 1}
    assert days[date(2026, 11, 12)].saved > 0


def test_models_and_outcomes_apart() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk)
    use(tenant.pk, outcome="exact")
    use(tenant.pk, model="ocr", input=0, output=0, units=1)
    groups = figures(tenant).by_model_and_outcome
    assert {name: value.calls for name, value in groups.items()} == {
        ("ocr", "miss"): 1, ("qwen", "exact"): 1, ("qwen", "miss"): 1,
    }  # fmt: skip


def test_what_cannot_be_rated_is_counted_and_said() -> None:
    tenant = subscribed_tenant()
    use(tenant.pk, quality="suspect")
    use(tenant.pk, cache_write=5)
    total = figures(tenant).total
    assert (total.calls, total.unrated_calls) == (2, 2)
    assert total.list == Decimal("0.00065")


def test_without_usage_or_plan_there_is_nothing_to_say() -> None:
    nothing = figures(TenantFactory.create())
    assert nothing.currency is None
    assert not any(nothing.total)
    assert nothing.total.hit_rate == 0


def test_the_figures_are_those_of_the_invoice_before_rounding() -> None:
    tenant = subscribed_tenant()
    for outcome in ("miss", "exact", "semantic", "coalesced", "bypass"):
        use(tenant.pk, outcome=outcome, input=123_456, output=7_890)
    total = figures(tenant).total
    lines = bill(tenant).lines.all()
    assert total.list == sum(line.list_accrued for line in lines)
    assert total.charged == sum(line.net_accrued for line in lines)
