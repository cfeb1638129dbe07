"""Usage as CSV: a row per usage event with what it cost, exact, in the order in which it occurred.

It stands in billing and not in metering because its rows carry prices, and metering does not know billing.

PostgreSQL writes the CSV (``COPY … TO STDOUT``) and only a chunk of it is ever held here. The period is cut
into pieces in which nothing changes; `billing.rating` gives each piece its rate card, and all that is left to
the database is quantity × rate in exact numerics, so prices are picked in one place.

Amounts are not rounded. An invoice rounds once per line: the ``…_charged`` of a pool, summed over the rows of
an invoice line and settled, is the line. Late usage is marked so and names the later invoice that it stands
on. Quarantined pools (no trustworthy count, or no price) are named and cost nothing, as on the invoice.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
from django.db import connection
from psycopg import sql

from billing.exports.pieces import Piece, pieces_of
from billing.exports.rate_card import Rates
from billing.money import format_decimal
from metering.periods import Period
from metering.tokens import BILLABLE
from tenants.models import Tenant

CHUNK_BYTES = 64 * 1024


def usage_csv(*, tenant: Tenant, period: Period, now: datetime) -> Iterator[bytes]:
    """Return the CSV of the tenant's usage that occurred in the period, in chunks of some 64 KiB.

    Prices are read at once, events while the chunks are consumed. That must happen in the calling thread,
    whose database connection it holds until the chunks are used up or closed. Events that are recorded
    meanwhile may be missing.

    Raises:
        psycopg.Error: while chunks are consumed, when the database fails: what came before is then not all.
    """
    return _in_chunks(_rows(tenant, pieces_of(tenant=tenant, period=period, now=now)))


def _in_chunks(rows: Iterator[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for row in rows:
        chunk += row
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _rows(tenant: Tenant, pieces: list[Piece]) -> Iterator[bytes]:
    """Yield the header and the rows, copying a day at a time, so that PostgreSQL never sorts more than that."""
    days = [piece._replace(period=day) for piece in pieces for day in _days(piece.period)]
    with connection.cursor() as cursor:
        for number, day in enumerate(days):
            with cursor.copy(_statement(tenant, day, with_header=number == 0)) as copy:
                yield from copy


def _days(period: Period) -> list[Period]:
    first = period.start.replace(hour=0, minute=0, second=0, microsecond=0)
    return period.split(first + timedelta(days=number) for number in range(1, (period.end - first).days + 1))


def _statement(tenant: Tenant, piece: Piece, *, with_header: bool) -> sql.Composed:
    return _COPY.format(
        **_COLUMNS,
        card=sql.Literal(_card(piece.rates)),
        currency=sql.Literal(piece.currency),
        watermarks=sql.Literal(piece.billed.watermarks),
        numbers=sql.Literal(piece.billed.numbers),
        kinds=sql.Literal(piece.billed.kinds),
        tenant=sql.Literal(tenant.pk),
        start=sql.Literal(piece.period.start),
        end=sql.Literal(piece.period.end),
        header=sql.Literal(with_header),
    )


def _card(rates: list[Rates]) -> str:
    """Write a rate card as JSON, its decimals as text: a row per model and outcome."""
    rows = []
    for line in rates:
        row = {"model": line.model, "outcome": line.outcome}
        for pool, rated in line.by_pool.items():
            row |= {
                f"{pool}_list": format_decimal(rated.list),
                f"{pool}_charged": format_decimal(rated.charged),
            }
        rows.append(row)
    return msgspec.json.encode(rows).decode()


def _each_pool(template: str, separator: str = ", ") -> sql.Composed:
    """Repeat a piece of SQL for every pool, in order."""
    parts = [
        sql.SQL(template).format(
            pool=sql.Identifier(pool),
            name=sql.Literal(pool),
            list=sql.Identifier(f"{pool}_list"),
            charged=sql.Identifier(f"{pool}_charged"),
        )
        for pool in BILLABLE
    ]
    return sql.SQL(separator).join(parts)


def _harmless(*column: str) -> sql.Composed:
    """Defuse a text that somebody typed: one line, and no formula to the spreadsheet that opens it."""
    return sql.SQL(
        r"CASE WHEN {column} ~ '^\s*[=+@-]|[[:cntrl:]]'"
        r" THEN '''' || regexp_replace({column}, '[[:cntrl:]]+', ' ', 'g') ELSE {column} END"
    ).format(column=sql.Identifier(*column))


# OFFSET 0 keeps PostgreSQL from writing the amounts out wherever they are named, and computing each many times.
_COPY = sql.SQL("""
COPY (
    WITH rate AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset({card}::jsonb) AS card (model text, outcome text, {rate_columns})
    ), api_key AS MATERIALIZED (
        SELECT id, public_id, {key_name} AS name FROM tenants_apikey WHERE tenant_id = {tenant}
    ), wrong AS MATERIALIZED (
        SELECT hit.event_id, hit.detected_at, credit.charged_accrued AS credited, invoice.number AS credited_on
        FROM metering_wronghit AS hit
        LEFT JOIN billing_wronghitcredit AS credit ON credit.wrong_hit_id = hit.id AND credit.stands
        LEFT JOIN billing_invoice AS invoice ON invoice.id = credit.invoice_id
        WHERE hit.tenant_id = {tenant}
    )
    SELECT
        event.event_id, event.request_id,
        to_char(event.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS occurred_at,
        api_key.public_id AS api_key, api_key.name AS api_key_name,
        {model} AS model, {version} AS model_version, event.outcome,
        {counts}, event.output_reasoning,
        event.quality, CASE WHEN event.raw_usage ? 'pool' THEN NULL ELSE event.source_event END AS source_event,
        event.latency_us, event.status,
        ({kinds}::text[])[amount.place] AS billed_as,
        nullif(({numbers}::text[])[amount.place], '') AS invoice,
        nullif(concat_ws(' ', {quarantined}), '') AS quarantined_pools,
        nullif({currency}, '') AS currency,
        trim_scale({list_sum}) AS list,
        trim_scale({charged_sum}) AS charged,
        trim_scale({list_sum} - ({charged_sum})) AS saved,
        {amounts},
        to_char(wrong.detected_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS proven_wrong_at,
        trim_scale(wrong.credited) AS credited, wrong.credited_on
    FROM metering_usageevent AS event
    LEFT JOIN wrong ON wrong.event_id = event.event_id
    LEFT JOIN api_key ON api_key.id = event.api_key_id
    LEFT JOIN rate ON rate.model = event.model AND rate.outcome = event.outcome AND event.quality <> 'suspect'
    CROSS JOIN LATERAL (
        SELECT width_bucket(event.xact_id, {watermarks}::bigint[]) + 1 AS place, {products} OFFSET 0
    ) AS amount
    WHERE event.tenant_id = {tenant} AND event.occurred_at >= {start} AND event.occurred_at < {end}
    ORDER BY event.occurred_at, event.event_id
) TO STDOUT (FORMAT csv, HEADER {header})
""")
_COLUMNS = {
    "rate_columns": _each_pool("{list} numeric, {charged} numeric"),
    "key_name": _harmless("name"),
    "model": _harmless("event", "model"),
    "version": _harmless("event", "model_version"),
    "counts": _each_pool("event.{pool}"),
    "products": _each_pool(
        "coalesce(event.{pool} * rate.{list}, 0) AS {list}, coalesce(event.{pool} * rate.{charged}, 0) AS {charged}"
    ),
    "quarantined": _each_pool("CASE WHEN event.{pool} > 0 AND rate.{list} IS NULL THEN {name} END"),
    "list_sum": _each_pool("amount.{list}", " + "),
    "charged_sum": _each_pool("amount.{charged}", " + "),
    "amounts": _each_pool("trim_scale(amount.{list}) AS {list}, trim_scale(amount.{charged}) AS {charged}"),
}
