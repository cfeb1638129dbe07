"""Monthly partitions of the usage events, made ahead of time.

Events outside every month's partition fall into the default partition, so none is ever refused; making
a partition moves the rows that belong to it out of the default one.
"""

from datetime import UTC, datetime

from django.db import connection

MONTHS_AHEAD = 3


def make_partitions(*, now: datetime, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make the partitions of this month and the *months_ahead* next ones. Idempotent.

    Returns the names of those that were missing. The database function runs as the owner of the
    table, so the application's role needs no right to create any.
    """
    made = []
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        for months in range(months_ahead + 1):
            year, month = divmod(first.month - 1 + months, 12)
            start = first.replace(year=first.year + year, month=month + 1)
            cursor.execute("SELECT metering_make_partition(%s)", [start.date()])
            (name,) = cursor.fetchone()
            if name:
                made.append(name)
    return made
