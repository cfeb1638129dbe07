"""`GET /api/v1/usage.csv`."""

import asyncio
import csv
import http.client
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest
import uvicorn
from a2wsgi import WSGIMiddleware
from django.db import connection, connections
from django.utils import timezone

from config.wsgi import application
from metering.models import UsageEvent
from tenants.models import Scope
from tests.billing.api.conftest import Caller
from tests.factories.usage import use

URL = "/api/v1/usage.csv"
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


def downloaded(caller: Caller, **query: str) -> list[dict[str, str]]:
    response = caller.client.get(URL, query)
    assert response.status_code == 200, response.content
    text = response.getvalue().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_each_tenant_downloads_its_own(acme: Caller, stranger: Caller) -> None:
    mine, theirs = (use(caller.tenant.pk, occurred_at=NOON) for caller in (acme, stranger))
    assert [row["event_id"] for row in downloaded(acme, month="2026-11")] == [str(mine.event_id)]
    assert [row["event_id"] for row in downloaded(stranger, month="2026-11")] == [str(theirs.event_id)]
    assert UsageEvent.objects.count() == 2


def test_it_is_a_file_named_for_tenant_and_period(acme: Caller, stranger: Caller) -> None:
    response = acme.client.get(URL, {"month": "2026-11"})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    name = "usage-acme-20261101T000000Z-20261201T000000Z.csv"
    assert response["Content-Disposition"] == f'attachment; filename="{name}"'


@pytest.mark.parametrize(
    "query",
    [
        {"month": "2026-11"},
        {"from": "2026-11-10", "to": "2026-11-11"},
        {"from": "2026-11-10T12:00:00Z", "to": "2026-11-10T12:00:00.000001Z"},
        {"from": "2026-11-10T13:00:00+01:00", "to": "2026-11-10T14:00:00+01:00"},
        {"from": "2026-11-10T12:00:00", "to": "2026-11-11"},
        {"to": "2026-11-11"},
    ],
)
def test_a_period_may_be_told_in_several_ways(acme: Caller, stranger: Caller, query: dict[str, str]) -> None:
    use(stranger.tenant.pk, occurred_at=NOON)
    for instant in (NOON - timedelta(days=40), NOON, NOON + timedelta(days=40)):
        use(acme.tenant.pk, occurred_at=instant)
    assert [row["occurred_at"] for row in downloaded(acme, **query)] == ["2026-11-10T12:00:00.000000Z"]


def test_this_month_until_now_unless_told_otherwise(acme: Caller, stranger: Caller) -> None:
    now = timezone.now()
    mine = use(acme.tenant.pk, occurred_at=now)
    use(stranger.tenant.pk, occurred_at=now)
    use(acme.tenant.pk, occurred_at=now + timedelta(hours=1))
    assert [row["event_id"] for row in downloaded(acme)] == [str(mine.event_id)]


@pytest.mark.parametrize(
    ("query", "parameter", "remedy"),
    [
        ({"month": "2026-13"}, "month", "YYYY-MM"),
        ({"month": "November"}, "month", "YYYY-MM"),
        ({"month": "2026-11", "from": "2026-11-01"}, "month", "either"),
        ({"from": "yesterday"}, "from", "2026-11-01T06:00:00Z"),
        ({"to": "2026-02-30"}, "to", "2026-11-01T06:00:00Z"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from", "in UTC"),
        ({"from": "2026-11-02", "to": "2026-11-02"}, "to", "later than from"),
        ({"from": "2020-01-01", "to": "2026-01-01"}, "from", "in parts"),
        ({"form": "2026-11-01"}, "form", "from, to, month"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_remedy(
    acme: Caller, stranger: Caller, query: dict[str, str], parameter: str, remedy: str
) -> None:
    for caller in (acme, stranger):
        response = caller.client.get(URL, query)
        assert response.status_code == 400
        assert response["Content-Type"] == "application/problem+json"
        (error,) = response.json()["errors"]
        assert error["parameter"] == parameter
        assert remedy in error["detail"]


def test_it_takes_the_scope_usage_read(acme: Caller, stranger: Caller) -> None:
    for caller in (acme, stranger):
        response = caller.with_scope(Scope.INVOICES_READ).get(URL)
        assert (response.status_code, response.json()["code"]) == (403, "scope_missing")


@pytest.fixture
def port() -> Iterator[int]:
    """Serve the control plane as the product does, with one thread; the port."""
    plane: Any = WSGIMiddleware(cast("Any", application), workers=1)
    server = uvicorn.Server(
        uvicorn.Config(plane, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()
    plane.executor.submit(connections.close_all).result()
    plane.executor.shutdown()


MANY = """
INSERT INTO metering_usageevent (event_id, request_id, tenant_id, model, model_version, outcome, occurred_at,
    input, latency_us, status, payload_digest)
SELECT id, id, %s, 'qwen', '1', 'miss', %s, 1, 1, 200, decode(repeat('00', 32), 'hex')
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %s)) AS ids
"""


def test_a_stream_that_fails_is_cut_and_not_ended(
    live_db: str, acme: Caller, stranger: Caller, port: int
) -> None:
    """The client must see that the file is not whole: chunked coding's end is never sent."""
    with connection.cursor() as cursor:
        cursor.execute(MANY, [acme.tenant.pk, NOON, 60_000])
    with served(port, "2026-11", acme.headers) as response:
        assert response.status == 200
        assert response.read(1000).startswith(b"event_id,")
        assert terminate_copies(live_db) == 1
        with pytest.raises(http.client.IncompleteRead):
            response.read()
    with served(port, "2026-12", acme.headers) as response:
        assert response.read().count(b"\n") == 1


@contextmanager
def served(port: int, month: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", f"{URL}?month={month}", headers=headers)
    try:
        yield client.getresponse()
    finally:
        client.close()


def terminate_copies(database_url: str) -> int:
    with psycopg.connect(database_url, autocommit=True) as other:
        return other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE '%COPY (%' AND pid <> pg_backend_pid()"
        ).rowcount
