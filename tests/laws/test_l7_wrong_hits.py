"""L7 with credits: whatever is proven wrong and whenever, each hit comes back once, exactly, and is verified."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import PeriodAlreadyClosed
from billing.models import Invoice, WrongHitCredit
from billing.selectors.verification import reconcile, verify_invoice
from billing.services.payments import void_invoice
from billing.services.periods import close_period
from metering.usage_event import UsageEvent
from tests.billing.conftest import DECEMBER, IN_DECEMBER, NOVEMBER, OCTOBER
from tests.factories.tenants import TenantFactory
from tests.factories.usage import prove_wrong, record, usage_event
from tests.laws.test_l7_invoices import IN_NOVEMBER, NEAR_A_CHANGE, charge, subscribe

IN_JANUARY = datetime(2027, 1, 2, tzinfo=UTC)
CLOSINGS = [(OCTOBER, IN_NOVEMBER), (NOVEMBER, IN_DECEMBER), (DECEMBER, IN_JANUARY)]
CENT = Fraction(1, 100)
USAGE = st.fixed_dictionaries(
    {
        "occurred_at": NEAR_A_CHANGE
        | st.integers(0, 60).map(lambda days: OCTOBER.start + timedelta(days=days)),
        "outcome": st.sampled_from(["miss", "exact", "semantic", "semantic", "semantic"]),
        "quality": st.sampled_from(["reported", "reported", "reported", "suspect"]),
        "input": st.sampled_from([0, 1, 999, 20_000, 5_000_000]),
        "output": st.integers(0, 50_000),
    }
)
CALLS = st.lists(st.tuples(USAGE, st.integers(0, 3)), max_size=14)
"""A call, and before which closing it is proven wrong (3: never)."""


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(CALLS, CALLS, st.booleans())
@pytest.mark.usefixtures("live_db")
def test_l7_wrong_hits_come_back_once_and_exactly(
    early: list[tuple[dict[str, Any], int]], late: list[tuple[dict[str, Any], int]], void: bool
) -> None:
    tenant = TenantFactory.create()
    plans = subscribe(tenant)
    proofs: list[tuple[UsageEvent, int]] = []
    for closing, (period, now) in enumerate(CLOSINGS):
        for usage, proven in (early, late, [])[closing]:
            event = usage_event(tenant.pk, **usage)
            record([event])
            if event.outcome == "semantic" and proven < 3:
                proofs.append((event, max(proven, closing)))
        record([usage_event(tenant.pk, occurred_at=period.end - timedelta(days=1), input=400_000)])
        for event, proven in proofs:
            if proven == closing:
                prove_wrong(event)
        for _ in range(2):
            with suppress(PeriodAlreadyClosed):
                close_period(period=period, now=now, tenant=tenant)
        if void and period == NOVEMBER:
            void_invoice(invoice=Invoice.objects.get(tenant=tenant, period_start=NOVEMBER.start), now=now)
            close_period(period=period, now=now + timedelta(hours=1), tenant=tenant)
    charges = {event.event_id: charge(event, plans) for event, _ in proofs if event.quality != "suspect"}
    standing = WrongHitCredit.objects.filter(stands=True, invoice__tenant=tenant).select_related("wrong_hit")
    credited = {credit.wrong_hit.event_id: Fraction(credit.charged_accrued) for credit in standing}
    assert len(credited) == standing.count()
    assert credited == {event_id: charges[event_id] for event_id in credited}
    assert_given_back(tenant.pk, sum(credited.values(), Fraction(0)))
    assert_waiting_for_a_reason(tenant.pk, [charges[event] for event in charges if event not in credited])
    assert reconcile(period=None).agrees


def assert_given_back(tenant_id: int, exact: Fraction) -> None:
    given_back = Fraction(0)
    for invoice in Invoice.objects.filter(tenant_id=tenant_id):
        assert verify_invoice(invoice=invoice) == []
        assert invoice.net_minor >= 0
        lines = [line for line in invoice.lines.all() if line.kind == "wrong_hit"]
        on_lines = -sum((Fraction(line.net_accrued) for line in lines), Fraction(0))
        assert on_lines == sum(Fraction(credit.charged_accrued) for credit in invoice.wrong_hit_credits.all())
        if invoice.status != Invoice.Status.VOID:
            given_back -= sum(line.net_minor for line in lines)
    assert abs(exact - given_back * CENT) <= 2 * CENT  # half a cent, and a voided invoice takes its own along


def assert_waiting_for_a_reason(tenant_id: int, waiting: list[Fraction]) -> None:
    """What waits did not fit under the last invoice."""
    last = Invoice.objects.exclude(status="void").get(tenant_id=tenant_id, period_start=DECEMBER.start)
    assert all(amount > last.net_minor * CENT - 2 * CENT for amount in waiting)
    assert Decimal(last.net_minor) >= 0
