"""Fixtures that every test may use."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connection

CLEANED = """
TRUNCATE metering_usageevent;
INSERT INTO metering_rollupprogress (id, watermark, system_identifier)
SELECT 1, 0, system_identifier FROM pg_control_system() ON CONFLICT DO NOTHING;
"""


@pytest.fixture(scope="session")
def database_url(django_db_setup: None) -> str:
    """Return the URL of the test database, for processes and connections of their own."""
    return url_of_test_database()


def url_of_test_database() -> str:
    """Return the URL of the test database, once it was made."""
    settings_dict = connection.settings_dict
    known = {"PASSWORD": "password", "HOST": "host", "PORT": "port"}
    query = urlencode({name: settings_dict[key] for key, name in known.items() if settings_dict[key]})
    return f"postgresql://{settings_dict['USER']}@/{settings_dict['NAME']}?{query}"


@pytest.fixture
def live_db(transactional_db: None, database_url: str) -> Iterator[str]:
    """Give a database whose rows other connections see, emptied before and afterwards; its URL."""
    clean(database_url)  # Django's own flush, which comes last, takes the progress row with it
    yield database_url
    clean(database_url)


def clean(database_url: str) -> None:
    """Leave no usage event, and the rollup's progress as a new database has it."""
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute(CLEANED)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """Give a folder for embedded servers.

    Not pytest's own: started by root, PostgreSQL runs as another user and opens the path to its data, which the
    next run of pytest on the machine would close again.
    """
    with tempfile.TemporaryDirectory(prefix="zerorate-test-") as path:
        yield Path(path)


@pytest.fixture
def redis_url() -> Iterator[str]:
    """Give the URL of an empty Redis database, emptied afterwards."""
    url: str = settings.REDIS_URL
    client = redis.Redis.from_url(url)
    client.flushdb()
    yield url
    client.flushdb()
    client.close()
