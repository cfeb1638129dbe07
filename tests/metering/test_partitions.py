"""Monthly partitions are made ahead, and take over what fell into the default one."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.db import connection

from metering.partitions import make_partitions

pytestmark = pytest.mark.django_db

INSERT = """
INSERT INTO metering_usageevent (event_id, tenant_id, request_id, model, model_version, outcome, occurred_at,
    latency_us, status, payload_digest)
VALUES (%s, 1, %s, 'm', '1', 'miss', %s, 1, 200, sha256(''))
"""


def lowest_id(instant: datetime) -> UUID:
    """Return the lowest UUIDv7 of an instant, after RFC 9562: 48 bits of milliseconds, then zeros."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)


def partition_of(event_id: UUID) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM metering_usageevent WHERE event_id = %s", [event_id]
        )
        (name,) = cursor.fetchone()
    return str(name)


def record(event_id: UUID, occurred_at: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [event_id, event_id, occurred_at])


def test_the_months_ahead_are_made_once() -> None:
    november = datetime(2031, 11, 30, 23, 59, tzinfo=UTC)
    made = make_partitions(now=november, months_ahead=2)
    assert made == [f"metering_usageevent_{month}" for month in ("2031_11", "2031_12", "2032_01")]
    assert make_partitions(now=november, months_ahead=2) == []


def test_a_month_begins_and_ends_at_midnight_utc() -> None:
    start, end = datetime(2031, 11, 1, tzinfo=UTC), datetime(2031, 12, 1, tzinfo=UTC)
    make_partitions(now=start, months_ahead=1)
    first, last = lowest_id(start), UUID(int=lowest_id(end).int - 1)
    for event_id in (first, last, lowest_id(end)):
        record(event_id, start)
    assert partition_of(first) == partition_of(last) == "metering_usageevent_2031_11"
    assert partition_of(lowest_id(end)) == "metering_usageevent_2031_12"


def test_what_fell_into_the_default_partition_moves_to_its_month() -> None:
    early = datetime(2031, 5, 5, tzinfo=UTC)
    inside, outside = lowest_id(early), UUID("00000000-0000-4000-8000-000000000000")
    record(inside, early)
    record(outside, early)
    assert partition_of(inside) == "metering_usageevent_default"
    make_partitions(now=early, months_ahead=0)
    assert partition_of(inside) == "metering_usageevent_2031_05"
    assert partition_of(outside) == "metering_usageevent_default"
