"""L3: usage events are append only: no UPDATE, no DELETE by the application's role, nor by mistake of the owner."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection
from psycopg import sql
from pytest_django import Settings

from metering.models import UsageEvent, WrongHit
from metering.privileges import grant_privileges
from metering.usage_event import COLUMNS
from tests.factories.tenants import TenantFactory
from tests.factories.usage import prove_wrong, use

ROLE = "zerorate_l3_app"
CHANGES = [
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    *(f"UPDATE {{table}} SET {name} = {name}" for name in COLUMNS),
]
PROOF_CHANGES = [
    "DELETE FROM metering_wronghit",
    *(
        f"UPDATE metering_wronghit SET {field.column} = {field.column}"
        for field in WrongHit._meta.concrete_fields
        if not field.primary_key
    ),
]


@pytest.fixture
def application(live_db: str, settings: Settings) -> Iterator[psycopg.Connection[object]]:
    """Give a connection of the application's role, and one event that is there to be changed."""
    settings.DATABASE_ROLE = ROLE
    grant_privileges()
    use(TenantFactory.create().pk)
    with psycopg.connect(live_db, autocommit=True) as application:
        application.execute(f"SET ROLE {ROLE}")
        yield application
    with connection.cursor() as cursor:
        cursor.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


def tables() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relid::regclass::text FROM pg_partition_tree('metering_usageevent')")
        return [name for (name,) in cursor.fetchall()]


def test_l3_the_application_can_add_events_and_change_none(application: psycopg.Connection[object]) -> None:
    before = list(UsageEvent.objects.values())
    for table in tables():
        for change in CHANGES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute(sql.SQL(change).format(table=sql.Identifier(table)))
    for change in (
        "DELETE FROM metering_usageconflict",
        "UPDATE metering_usageconflict SET seen_at = seen_at",
        *PROOF_CHANGES,
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute(change)
    assert list(UsageEvent.objects.values()) == before


@pytest.mark.parametrize("change", [change for change in CHANGES if not change.startswith("TRUNCATE")])
def test_l3_the_owner_is_stopped_too(live_db: str, change: str) -> None:
    use(TenantFactory.create().pk)
    before = list(UsageEvent.objects.values())
    with (
        psycopg.connect(live_db) as owner,
        pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
    ):
        owner.execute(sql.SQL(change).format(table=sql.Identifier("metering_usageevent")))
    assert list(UsageEvent.objects.values()) == before


def test_l3_the_application_adds_proofs_of_wrong_hits(application: psycopg.Connection[object]) -> None:
    hit = use(TenantFactory.create().pk, outcome="semantic")
    application.execute(
        "INSERT INTO metering_wronghit (tenant_id, event_id, occurred_at, model, source_event, similarity, score,"
        " reason) VALUES (%s, %s, now(), 'qwen', %s, 0.97, 0.99, 'It differs.')",
        [hit.tenant_id, hit.event_id, hit.source_event],
    )
    assert WrongHit.objects.filter(event_id=hit.event_id, xact_id__gt=0).exists()


@pytest.mark.parametrize("change", PROOF_CHANGES)
def test_l3_a_proof_is_kept_from_the_owner_too(live_db: str, change: str) -> None:
    prove_wrong(use(TenantFactory.create().pk, outcome="semantic"))
    with (
        psycopg.connect(live_db) as owner,
        pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
    ):
        owner.execute(change.encode())
