"""What was spent of a budget, by PostgreSQL: the truth that counters elsewhere are measured against."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from billing.models import Budget
from billing.money import billionths, exact_sum
from billing.rating.invoice_lines import change_instants
from billing.selectors.contracts import contracts_within
from billing.selectors.savings import rated_part
from metering.periods import Period
from metering.selectors import rollup_watermark, usage_between
from metering.usage_by_call import Whose, calls_alike

_DAY = timedelta(days=1)
_AS_KNOWN_NOW = datetime.max.replace(tzinfo=UTC)


def spent(*, budget: Budget, period: Period) -> Decimal:
    """Return what was charged in the budget's period, exactly, as far as usage is rolled up: some seconds behind."""
    contracts = contracts_within(tenant_id=budget.tenant_id, period=period, priced_at=_AS_KNOWN_NOW)
    usage = usage_between(
        tenant_id=budget.tenant_id,
        api_key_id=budget.api_key_id,
        period=period,
        cuts=change_instants(contracts),
        below=rollup_watermark(),
    )
    return exact_sum(rated_part(part, contracts).rated.charged for part in usage)


def spent_by_call(
    *,
    budget: Budget,
    period: Period,
    now: datetime,
    on_day: Callable[[int], object] = lambda _days: None,
) -> int:
    """Return the same in billionths, each call rounded up, as gateways count it; from every event there is.

    Costs O(events of the period), which are read day by day; `on_day` is told of each. Read in one snapshot.
    """
    contracts = contracts_within(tenant_id=budget.tenant_id, period=period, priced_at=_AS_KNOWN_NOW)
    cuts, whose, total = change_instants(contracts), whose_budget(budget), 0
    for day in days_until(period, now):
        for call in calls_alike(whose=whose, period=day, cuts=cuts):
            total += call.calls * billionths(rated_part(call, contracts).rated.charged)
        on_day(1)
    return total


def whose_budget(budget: Budget) -> Whose:
    """Return whose calls a budget is for."""
    return Whose(budget.tenant_id, budget.api_key_id)


def days_until(period: Period, now: datetime) -> list[Period]:
    """Return the days of a period that have begun by *now*, and the next one, for clocks that go ahead."""
    end = min(period.end, now + _DAY)
    starts = [period.start + _DAY * count for count in range((period.end - period.start) // _DAY)]
    return [Period(start, start + _DAY) for start in starts if start < end]
