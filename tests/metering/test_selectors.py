"""Usage is summed alike from rollups and from events, however the period is cut."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.periods import Period, month
from metering.selectors import (
    months_of_usage,
    months_of_usage_from_events,
    rollup_watermark,
    usage_between,
    usage_from_events,
)
from metering.services.rollups import roll_up
from tests.factories.tenants import TenantFactory
from tests.factories.usage import record, usage_event, use

NOW = datetime(2026, 11, 3, tzinfo=UTC)
NIGHT = Period(datetime(2026, 10, 31, 22, tzinfo=UTC), datetime(2026, 11, 1, 3, tzinfo=UTC))
INSTANTS = st.builds(
    lambda minutes, microseconds: NIGHT.start + timedelta(minutes=minutes, microseconds=microseconds),
    st.integers(-30, 330),
    st.sampled_from([0, 0, 1, 999_999]),
)
USAGE = st.fixed_dictionaries(
    {
        "occurred_at": INSTANTS,
        "model": st.sampled_from(["qwen", "ocr"]),
        "outcome": st.sampled_from(["miss", "exact"]),
        "quality": st.sampled_from(["reported", "suspect"]),
        "input": st.integers(0, 1000),
        "units": st.integers(0, 3),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    usage=st.lists(USAGE, max_size=12),
    unseen=st.lists(USAGE, max_size=3),
    cuts=st.lists(INSTANTS, max_size=5),
)
@pytest.mark.usefixtures("live_db")
def test_rollups_and_events_tell_the_same(
    usage: list[dict[str, Any]], unseen: list[dict[str, Any]], cuts: list[datetime]
) -> None:
    tenant_id, stranger_id = TenantFactory.create().pk, TenantFactory.create().pk
    events = [usage_event(tenant_id, **one) for one in usage]
    record([*events, *(usage_event(stranger_id, **one) for one in usage)])
    roll_up(now=NOW)
    record(usage_event(tenant_id, **one) for one in unseen)
    asked: dict[str, Any] = {
        "tenant_id": tenant_id,
        "period": NIGHT,
        "cuts": cuts,
        "below": rollup_watermark(),
    }
    summed = usage_between(**asked)
    assert summed == usage_from_events(**asked)
    for span in NIGHT.split(cuts):
        within = [event for event in events if span.contains(event.occurred_at)]
        of_span = [part for part in summed if part.span == span]
        assert sum(part.calls for part in of_span) == len(within)
        for pool in ("input", "output", "units"):
            assert sum(part.quantities[pool] for part in of_span) == sum(
                getattr(event, pool) for event in within
            )


@pytest.mark.usefixtures("live_db")
def test_months_of_usage_are_the_same_from_both_and_end_before_the_instant() -> None:
    tenant_id = TenantFactory.create().pk
    for day in (datetime(2026, 9, 30, 23, 59, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)):
        use(tenant_id, occurred_at=day)
    use(TenantFactory.create().pk, occurred_at=datetime(2026, 8, 1, tzinfo=UTC))
    roll_up(now=NOW)
    before = month("2026-11").end
    months = months_of_usage(tenant_id=tenant_id, before=before)
    assert [known.period for known in months] == [month("2026-09"), month("2026-11")]
    assert months == months_of_usage_from_events(tenant_id=tenant_id, before=before, below=rollup_watermark())
    assert months_of_usage(tenant_id=tenant_id, before=month("2026-11").start) == months[:1]
