"""What the application's role may do in the database.

Migrations run as the owner of the tables; everything else runs as the role ``DATABASE_ROLE``, which may
neither change nor delete a usage event or a wrong hit (law L3) nor make or drop tables.
"""

from typing import Any

from django.conf import settings
from django.db import connection
from psycopg import errors, sql

APPEND_ONLY = ("metering_usageevent", "metering_usageconflict", "metering_wronghit")


def grant_privileges(**_signal: Any) -> None:
    """Create the application's role if it is missing and grant it its rights. Idempotent."""
    if not settings.DATABASE_ROLE:
        return
    role = sql.Identifier(settings.DATABASE_ROLE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [settings.DATABASE_ROLE])
        if cursor.fetchone() is None:
            _create_role(cursor, role)
        for statement in (
            "GRANT USAGE ON SCHEMA public TO {role}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
        ):
            cursor.execute(sql.SQL(statement).format(role=role))
        for table in (*APPEND_ONLY, *_partitions(cursor)):
            cursor.execute(
                sql.SQL("REVOKE UPDATE, DELETE ON {table} FROM {role}").format(
                    table=sql.Identifier(table), role=role
                )
            )


def _partitions(cursor: Any) -> list[str]:
    cursor.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'metering_usageevent'::regclass"
    )
    return [name for (name,) in cursor.fetchall()]


def _create_role(cursor: Any, role: sql.Identifier) -> None:
    try:
        cursor.execute(sql.SQL("CREATE ROLE {role} NOLOGIN").format(role=role))
        cursor.execute(sql.SQL("GRANT {role} TO CURRENT_USER").format(role=role))
    except errors.DuplicateObject:
        return  # another database of this cluster was migrated at the same moment
