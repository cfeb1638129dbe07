"""Many semantic entries, written at once."""

from collections.abc import Iterable, Mapping

import psycopg

from cacheproxy.semantic.room import to_halfvec
from cacheproxy.semantic.store import Entry

TYPES = (
    "bytea", "bytea", "int8", "bytea", "text", "text", "int2", "timestamptz", "timestamptz", "bytea", "bytea",
)  # fmt: skip
"""Of the columns; the last one's bytes are a halfvec's, as they are."""


def fill(url: str, entries: Iterable[Entry]) -> None:
    """Have *entries* in the table and no others; the index of vectors is built last."""
    with psycopg.connect(url, autocommit=True) as sql:
        near = sql.execute("SELECT pg_get_indexdef('cacheproxy_semanticentry_near'::regclass)").fetchone()
        assert near is not None
        sql.execute("TRUNCATE cacheproxy_semanticentry; DROP INDEX cacheproxy_semanticentry_near")
        columns = ", ".join(Entry._fields).replace("vector", "embedding")
        with sql.cursor().copy(
            f"COPY cacheproxy_semanticentry ({columns}) FROM STDIN (FORMAT binary)"
        ) as copy:
            copy.set_types(TYPES)
            for entry in entries:
                copy.write_row((*entry[:-1], to_halfvec(entry.vector)))
        sql.execute("SET maintenance_work_mem = '512MB'")
        sql.execute(near[0].replace(" ON ONLY ", " ON "))  # of every partition
        sql.execute("VACUUM ANALYZE cacheproxy_semanticentry")


def mib(url: str) -> Mapping[str, float]:
    """Return the room that the entries take in PostgreSQL, by what takes it."""
    with psycopg.connect(url) as sql:
        rows = sql.execute(
            "SELECT CASE WHEN relkind = 'r' THEN 'rows' WHEN relname LIKE '%embedding%' THEN 'index of vectors'"
            " ELSE 'other indexes' END, sum(pg_table_size(oid)) / 1048576.0"
            " FROM pg_class WHERE relname ~ '^cacheproxy_semanticentry_\\d' AND relkind IN ('r', 'i') GROUP BY 1"
        ).fetchall()
    return {kind: float(size) for kind, size in rows}
