"""The application's role may write events and may not change them."""

import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from metering.partitions import make_partitions
from metering.privileges import grant_privileges

pytestmark = pytest.mark.django_db
ROLE = "zerorate_test_app"


@pytest.fixture
def as_application(settings: Settings) -> None:
    """Run the rest of the test as an application's role of its own, which the rollback removes."""
    settings.DATABASE_ROLE = ROLE
    grant_privileges()
    grant_privileges()
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {ROLE}")


def refused(statement: str) -> str:
    with pytest.raises(DatabaseError) as refusal, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    return str(refusal.value)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE metering_usageevent SET output = 0",
        "DELETE FROM metering_usageevent",
        "TRUNCATE metering_usageevent",
        "UPDATE metering_usageevent_default SET output = 0",
        "DELETE FROM metering_usageevent_default",
        "DELETE FROM metering_usageconflict",
        "DROP TABLE metering_usagerollup",
        "ALTER TABLE metering_usageevent DISABLE TRIGGER append_only",
        "CREATE TABLE metering_usageevent_own (id int)",
    ],
)
def test_the_role_may_not(as_application: None, statement: str) -> None:
    assert "permission denied" in refused(statement) or "must be owner" in refused(statement)


def test_the_role_may_do_its_work(as_application: None) -> None:
    from datetime import UTC, datetime

    from tenants.models import Tenant

    tenant = Tenant.objects.create(slug="acme", name="Acme")
    tenant.delete()
    assert make_partitions(now=datetime(2033, 1, 1, tzinfo=UTC), months_ahead=0) == [
        "metering_usageevent_2033_01"
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM gateway_access")
        cursor.execute("UPDATE metering_rollupprogress SET watermark = watermark")


@pytest.mark.parametrize(
    "change", ["UPDATE metering_usageevent SET output = 0", "DELETE FROM metering_usageevent"]
)
def test_the_owner_is_refused_too(change: str) -> None:
    assert "append-only" in refused(change)
