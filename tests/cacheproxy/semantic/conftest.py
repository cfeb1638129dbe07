"""Fixtures of the semantic tier's tests."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.store import Store
from tests.stack import models_dir

"""Kept between runs, as they are in production."""


@pytest.fixture(scope="session")
def exact_encoder() -> Iterator[LocalEncoder]:
    """Give the local encoder in float32."""
    encoder = LocalEncoder.open(models_dir(), quantised=False)
    yield encoder
    encoder.close()


@pytest.fixture(scope="session")
def quantised_encoder() -> Iterator[LocalEncoder]:
    """Give the local encoder as the product has it."""
    encoder = LocalEncoder.open(models_dir())
    yield encoder
    encoder.close()


@pytest.fixture
async def encoder() -> AsyncIterator[LocalEncoder]:
    """Give a local encoder of the test's own."""
    encoder = LocalEncoder.open(models_dir())
    yield encoder
    encoder.close()


@pytest.fixture
def settings(live_db: str) -> GatewaySettings:
    """Give a gateway's settings."""
    return GatewaySettings(database_url=live_db, key_pepper="pepper")


@pytest.fixture
async def sql(settings: GatewaySettings) -> AsyncIterator[Any]:
    """Give a connection of the test's own to a database without entries, which none outlives."""
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute("TRUNCATE cacheproxy_semanticentry")
    yield connection
    await connection.execute("TRUNCATE cacheproxy_semanticentry")
    await connection.close()


@pytest.fixture
async def store(settings: GatewaySettings, sql: Any) -> AsyncIterator[Store]:
    """Give a store."""
    store = Store(settings)
    await store.start()
    yield store
    await store.stop()
