"""L7: invoice = f(events, price book, rounding), recomputed from raw events and equal to the last digit.

Events come before and after the first month is closed, prices change within the hour, and the plan changes within
the month. Each event is rated here once more, alone and in fractions.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import PeriodAlreadyClosed
from billing.models import Invoice, InvoiceLine, Plan, Price
from billing.money import settle
from billing.selectors.verification import verify_invoice
from billing.services.periods import close_period
from metering.periods import Period
from metering.usage_event import UsageEvent
from tenants.models import Tenant
from tests.billing.conftest import IN_DECEMBER, NOVEMBER, OCTOBER
from tests.factories.billing import HitDiscountFactory, PlanFactory, PriceFactory, SubscriptionFactory
from tests.factories.tenants import TenantFactory
from tests.factories.usage import record, usage_event

IN_NOVEMBER = datetime(2026, 11, 2, tzinfo=UTC)
PRICE_CUT = datetime(2026, 10, 20, 12, 15, tzinfo=UTC)
NEW_PLAN = datetime(2026, 11, 10, 9, 30, 0, 1, tzinfo=UTC)

NEAR_A_CHANGE = st.builds(
    lambda change, microseconds: change + timedelta(microseconds=microseconds),
    st.sampled_from([PRICE_CUT, NEW_PLAN, NOVEMBER.start]),
    st.sampled_from([-3_600_000_000, -1, 0, 1, 1_800_000_000]),
)
ANY_TIME = st.integers(0, 60 * 86_400).map(lambda seconds: OCTOBER.start + timedelta(seconds=seconds))
USAGE = st.fixed_dictionaries(
    {
        "occurred_at": NEAR_A_CHANGE | ANY_TIME,
        "model": st.sampled_from(["qwen", "ocr"]),
        "outcome": st.sampled_from(["miss", "bypass", "exact", "coalesced", "semantic"]),
        "quality": st.sampled_from(["reported", "reported", "estimated", "suspect"]),
        "input": st.integers(0, 5_000_000),
        "output": st.integers(0, 100_000),
        "cache_write": st.sampled_from([0, 0, 0, 7]),
        "units": st.integers(0, 2),
    }
)


def subscribe(tenant: Tenant) -> list[tuple[Period, Plan]]:
    """Put the tenant on a plan whose prices fall at a quarter past noon, then on another."""
    first, second = PlanFactory.create(), PlanFactory.create()
    for plan, amount in ((first, "0.333333"), (second, "0.7")):
        PriceFactory.create(plan=plan, amount=Decimal(amount))
        PriceFactory.create(plan=plan, pool="output", amount=Decimal("1.234567890123"))
        PriceFactory.create(plan=plan, model="ocr", pool="units", amount=Decimal("0.005"), per=1)
        HitDiscountFactory.create(plan=plan, outcome="semantic", percent=Decimal("33.3333"))
    PriceFactory.create(plan=first, amount=Decimal("0.05"), effective_from=PRICE_CUT)
    HitDiscountFactory.create(plan=second, outcome="exact", model="qwen", pool="output", percent=Decimal(50))
    SubscriptionFactory.create(tenant=tenant, plan=first, starts_at=OCTOBER.start, ends_at=NEW_PLAN)
    SubscriptionFactory.create(tenant=tenant, plan=second, starts_at=NEW_PLAN)
    return [(Period(OCTOBER.start, NEW_PLAN), first), (Period(NEW_PLAN, NOVEMBER.end), second)]


def charge(event: UsageEvent, plans: list[tuple[Period, Plan]]) -> Fraction:
    """Rate one event in fractions, from the rows."""
    plan = next(plan for span, plan in plans if span.contains(event.occurred_at))
    charged = Fraction(0)
    for pool in ("input", "output", "cache_write", "units"):
        held = Price.objects.filter(
            plan=plan, model=event.model, pool=pool, effective_from__lte=event.occurred_at
        )
        price = held.order_by("-effective_from").first()
        if price is not None and event.quality != "suspect":
            percent = percent_off(event, pool, is_second=plan == plans[1][1])
            charged += getattr(event, pool) * Fraction(price.amount) / price.per * (100 - percent) / 100
    return charged


def percent_off(event: UsageEvent, pool: str, *, is_second: bool) -> Fraction:
    if event.outcome == "exact" and is_second and (event.model, pool) == ("qwen", "output"):
        return Fraction(50)
    return {"exact": Fraction(100), "coalesced": Fraction(100), "semantic": Fraction("33.3333")}.get(
        event.outcome, Fraction(0)
    )


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(early=st.lists(USAGE, max_size=12), late=st.lists(USAGE, max_size=8))
@pytest.mark.usefixtures("live_db")
def test_l7_invoices_are_what_their_events_cost(
    early: list[dict[str, Any]], late: list[dict[str, Any]]
) -> None:
    tenant = TenantFactory.create()
    plans = subscribe(tenant)
    events = []
    for batch, periods, now in ((early, [OCTOBER], IN_NOVEMBER), (late, [OCTOBER, NOVEMBER], IN_DECEMBER)):
        made = [usage_event(tenant.pk, **usage) for usage in batch]
        record(made)
        events.extend(made)
        for period in periods:
            with suppress(PeriodAlreadyClosed):
                close_period(period=period, now=now, tenant=tenant)
    assert accrued_by_month(tenant) == charged_by_month(events, plans)
    for invoice in Invoice.objects.filter(tenant=tenant):
        assert verify_invoice(invoice=invoice) == []
        lines = list(invoice.lines.all())
        assert all(line.net_minor == settle(line.net_accrued, "USD") for line in lines)
        assert invoice.net_minor == sum(line.net_minor for line in lines)


def accrued_by_month(tenant: Tenant) -> dict[datetime, Fraction]:
    sums: defaultdict[datetime, Fraction] = defaultdict(Fraction)
    for line in InvoiceLine.objects.filter(invoice__tenant=tenant).select_related("invoice"):
        sums[line.original_period_start or line.invoice.period_start] += Fraction(line.net_accrued)
    return {month: amount for month, amount in sums.items() if amount}


def charged_by_month(
    events: Sequence[UsageEvent], plans: list[tuple[Period, Plan]]
) -> dict[datetime, Fraction]:
    sums: defaultdict[datetime, Fraction] = defaultdict(Fraction)
    for event in events:
        month = OCTOBER if OCTOBER.contains(event.occurred_at) else NOVEMBER
        sums[month.start] += charge(event, plans)
    return {month: amount for month, amount in sums.items() if amount}
