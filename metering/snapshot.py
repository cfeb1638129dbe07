"""One moment of the database, for questions that take several queries."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import connection, transaction


@contextmanager
def snapshot() -> Iterator[datetime]:
    """Let every query inside see the database at one moment, and say when that was by its own clock.

    Read only, and a transaction of its own: it cannot be begun inside another.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT now()")
        (moment,) = cursor.fetchone()
        yield moment
