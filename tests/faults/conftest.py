"""The stage's servers: a database and a Redis that other tests find empty again."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
import redis
from django.conf import settings

from tests.cacheproxy.gateway.conftest import cast, gateway_settings, upstream, world
from tests.conftest import CLEANED
from tests.faults.stage import Servers

__all__ = ["cast", "gateway_settings", "servers", "upstream", "world"]

EMPTIED = (
    "TRUNCATE tenants_tenant, billing_plan, cacheproxy_servedmodel, cacheproxy_upstream CASCADE;" + CLEANED
)


@pytest.fixture(scope="session")
def servers(database_url: str) -> Servers:
    """Give the servers of this suite; whoever uses them does so in `emptied`."""
    return Servers(database_url, settings.REDIS_URL)


@contextlib.contextmanager
def emptied(servers: Servers) -> Iterator[None]:
    """Find both servers empty, and leave them so: faster than by Django's flush, and once for many tests."""
    _empty(servers)
    yield
    _empty(servers)


def _empty(servers: Servers) -> None:
    with psycopg.connect(servers.database_url, autocommit=True) as other:
        other.execute(EMPTIED)
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushdb()
