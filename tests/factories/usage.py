"""Usage events: values, and rows written the way any writer would."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
from django.db import connection

from metering.models import WrongHit
from metering.usage_event import COLUMNS, HITS, EventIds, UsageEvent, seal

NOVEMBER_NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)

INSERT = (
    f"INSERT INTO metering_usageevent ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
    " ON CONFLICT DO NOTHING"
)


def usage_event(tenant_id: int, **changes: Any) -> UsageEvent:
    """Make a sealed event: a plain miss of 1,000 tokens in and 100 out, unless told otherwise."""
    occurred_at: datetime = changes.setdefault("occurred_at", NOVEMBER_NOON)
    # A source of its own for each: the shared one never goes back in time, and tests do.
    event_id = changes.setdefault("event_id", EventIds().next(int(occurred_at.timestamp()) * 1_000_000_000))
    plain: dict[str, Any] = {
        "tenant_id": tenant_id,
        "request_id": event_id,
        "model": "qwen",
        "model_version": "1",
        "outcome": "miss",
        "input": 1_000,
        "output": 100,
        "quality": "reported",
        "latency_us": 1_000,
        "status": 200,
    }
    if changes.get("outcome") in HITS:
        plain["source_event"] = uuid4()
    return seal(UsageEvent(**plain | changes))


def record(events: Iterable[UsageEvent], cursor: Any = None) -> None:
    """Write events, ignoring ids that are there; on the given cursor, or Django's connection."""
    rows = [row_of(event) for event in events]
    if cursor is not None:
        cursor.executemany(INSERT, rows)
        return
    with connection.cursor() as own:
        own.executemany(INSERT, rows)


def row_of(event: UsageEvent) -> list[Any]:
    """Return the event's column values as psycopg takes them."""
    values = [getattr(event, column) for column in COLUMNS]
    raw = COLUMNS.index("raw_usage")
    if event.raw_usage is not None:
        values[raw] = event.raw_usage.decode()
    return values


def use(tenant_id: int, **changes: Any) -> UsageEvent:
    """Record one event and return it."""
    event = usage_event(tenant_id, **changes)
    record([event])
    return event


def connect(database_url: str) -> psycopg.Connection[Any]:
    """Open a connection of one's own: another process, as far as PostgreSQL can tell."""
    return psycopg.connect(database_url)


def prove_wrong(event: UsageEvent, **changes: Any) -> WrongHit:
    """Record that a semantic hit was wrong, the way the gateway does."""
    plain: dict[str, Any] = {
        "tenant_id": event.tenant_id,
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "model": event.model,
        "source_event": event.source_event,
        "similarity": 0.97,
        "score": 0.995,
        "reason": "Asked again, the model answered something else.",
    }
    return WrongHit.objects.create(**plain | changes)
