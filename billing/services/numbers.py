"""Gapless numbers: taken inside the short transaction that uses them, given back if it fails."""

from datetime import datetime

from django.db import connection

_TAKE = """
INSERT INTO billing_invoicecounter AS counter (series, next_number) VALUES (%s, 2)
ON CONFLICT (series) DO UPDATE SET next_number = counter.next_number + 1
RETURNING next_number - 1
"""


def take_number(*, prefix: str, now: datetime) -> str:
    """Take the next number of this year's series: `INV-2026-000001`. Locks the series until commit."""
    assert connection.in_atomic_block, "a number is taken only with what bears it"
    series = f"{prefix}-{now.year}"
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [series])
        (number,) = cursor.fetchone()
    return f"{series}-{number:06d}"
