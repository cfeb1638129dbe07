"""What an operator reads where pgvector cannot be had."""

from importlib import import_module

import psycopg
import pytest

EXTENSION = import_module("cacheproxy.migrations.0006_semantic_entries").EXTENSION


@pytest.mark.django_db  # so that the database is made where this test runs alone
def test_a_role_that_may_not_is_told_what_to_do(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP EXTENSION vector CASCADE")  # undone with the transaction
        connection.execute("CREATE ROLE semantic_migrator; SET ROLE semantic_migrator")
        with pytest.raises(psycopg.errors.RaiseException, match="may not create") as refusal:
            connection.execute(EXTENSION)
        assert "CREATE EXTENSION vector" in (refusal.value.diag.message_hint or "")
        connection.rollback()
        connection.execute(EXTENSION)  # there already, and new enough
