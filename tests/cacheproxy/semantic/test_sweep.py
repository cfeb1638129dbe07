"""Expired entries go, a few at a time."""

from datetime import timedelta

import psycopg

from cacheproxy.semantic_entries import delete_expired
from tests.cacheproxy.semantic.entries import HOUR, NOW

INSERT = """
INSERT INTO cacheproxy_semanticentry
SELECT 'context', number::text::bytea, 1, '', 'qwen-small', '1', 0, %(now)s,
       %(now)s + CASE WHEN number < 7 THEN number * interval '1 second' ELSE interval '1 hour' END,
       'question', array_fill(number, ARRAY[384])::halfvec
FROM generate_series(0, 9) AS number
"""


def test_only_what_has_expired_goes_and_in_batches(live_db: str) -> None:
    with psycopg.connect(live_db, autocommit=True) as sql:
        sql.execute("TRUNCATE cacheproxy_semanticentry")
        sql.execute(INSERT, {"now": NOW})
        now = NOW + timedelta(seconds=6)

        assert delete_expired(now=now, batch=2, max_batches=2) == 4
        assert delete_expired(now=now, batch=2) == 3
        assert delete_expired(now=now) == 0
        left = sql.execute("SELECT count(*), min(expires_at) FROM cacheproxy_semanticentry").fetchone()
        assert left == (3, NOW + HOUR)
        sql.execute("TRUNCATE cacheproxy_semanticentry")
