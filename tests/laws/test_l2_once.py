"""L2: unique on (tenant, event id) for ever; the same again is ignored, the same id with another content is a
conflict that is kept.

The writer is the gateway's own: batches, in any order and any number of times.
"""

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.recording.ledger import Ledger, Verdict
from metering.usage_event import UsageEvent
from tests.factories.tenants import TenantFactory
from tests.factories.usage import usage_event

EVENTS, CONTENTS = 4, 3
DELIVERIES = st.lists(
    st.lists(st.tuples(st.integers(0, EVENTS - 1), st.integers(0, CONTENTS - 1)), min_size=1, max_size=5),
    max_size=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(deliveries=DELIVERIES)
def test_l2_an_event_is_recorded_once_and_contradictions_are_kept(
    live_db: str, deliveries: list[list[tuple[int, int]]]
) -> None:
    tenant_id = TenantFactory.create().pk
    ids = [usage_event(tenant_id).event_id for _ in range(EVENTS)]
    batches = [
        [usage_event(tenant_id, event_id=ids[event], output=content) for event, content in batch]
        for batch in deliveries
    ]
    first: dict[UUID, bytes] = {}
    refused: set[tuple[UUID, bytes]] = set()
    for verdicts, batch in zip(asyncio.run(write(live_db, batches)), batches, strict=True):
        for event in batch:
            if first.setdefault(event.event_id, event.payload_digest) != event.payload_digest:
                refused.add((event.event_id, event.payload_digest))
                assert verdicts[event.event_id] is Verdict.CONFLICTED
        assert set(verdicts) <= {event_id for event_id, _ in refused}
    assert rows(live_db, "event_id, payload_digest", "metering_usageevent", tenant_id) == sorted(
        first.items()
    )
    assert rows(live_db, "event_id, refused_digest", "metering_usageconflict", tenant_id) == sorted(refused)


async def write(database_url: str, batches: list[list[UsageEvent]]) -> list[Any]:
    ledger = Ledger(
        GatewaySettings(database_url=database_url, key_pepper="pepper", database_timeout_seconds=30)
    )
    try:
        return [await ledger.write(batch) for batch in batches]
    finally:
        await ledger.close()


def rows(database_url: str, columns: str, table: str, tenant_id: int) -> list[tuple[Any, ...]]:
    query = f"SELECT {columns} FROM {table} WHERE tenant_id = %s ORDER BY 1, 2"
    with psycopg.connect(database_url) as reader:
        return reader.execute(query, [tenant_id]).fetchall()


@pytest.mark.usefixtures("live_db")
def test_l2_two_tenants_may_bear_the_same_id(live_db: str) -> None:
    one, other = TenantFactory.create().pk, TenantFactory.create().pk
    event = usage_event(one)
    batches = [[event], [usage_event(other, event_id=event.event_id, output=7)]]
    assert asyncio.run(write(live_db, batches)) == [{}, {}]
