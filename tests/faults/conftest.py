"""The stage's servers: a database and a Redis that other tests find empty again."""

from collections.abc import Iterator

import psycopg
import pytest
import redis
from django.conf import settings

from tests.conftest import CLEANED
from tests.faults.stage import Servers

EMPTIED = "TRUNCATE tenants_tenant, billing_plan, cacheproxy_servedmodel, cacheproxy_upstream CASCADE;" + CLEANED


@pytest.fixture(scope="session")
def servers(database_url: str) -> Iterator[Servers]:
    """Give servers that every world begins with empty."""
    yield Servers(database_url, settings.REDIS_URL)
    empty(database_url)


def empty(database_url: str) -> None:
    """Empty both servers: faster than by Django's flush, and once for many tests."""
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute(EMPTIED)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
