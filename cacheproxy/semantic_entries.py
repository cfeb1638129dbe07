"""The semantic tier's entries, from the control plane: those that are over go, a few at a time."""

from datetime import datetime

from django.db import connection

BATCH = 500
MAX_BATCHES = 40

_DELETE_EXPIRED = """
DELETE FROM cacheproxy_semanticentry WHERE (context, answer_key) IN (
    SELECT context, answer_key FROM cacheproxy_semanticentry WHERE expires_at <= %s LIMIT %s
    FOR UPDATE SKIP LOCKED
)
"""


def delete_expired(*, now: datetime, batch: int = BATCH, max_batches: int = MAX_BATCHES) -> int:
    """Delete entries that expired by *now*, and return how many.

    Each batch is a transaction of its own, so that no search waits for more than one; what is left over when
    *max_batches* are done waits for the next sweep.
    """
    deleted = 0
    for _ in range(max_batches):
        with connection.cursor() as cursor:
            cursor.execute(_DELETE_EXPIRED, [now, batch])
            deleted += cursor.rowcount
            if cursor.rowcount < batch:
                break
    return deleted
