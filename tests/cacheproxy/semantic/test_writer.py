"""Entries are written behind calls, and forgotten where they cannot be."""

from typing import Any

import msgspec

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.store import Store
from cacheproxy.semantic.writer import MAX_WAITING, Writer
from tests.cacheproxy.gateway.world import eventually
from tests.cacheproxy.semantic.entries import entry, vectors


async def test_entries_arrive_soon(store: Store, sql: Any) -> None:
    writer = Writer(store)
    await writer.start()
    for number, vector in enumerate(vectors(100)):
        writer.remember(entry(vector, str(number)))

    async def all_there() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 100 FROM cacheproxy_semanticentry"))

    await eventually(all_there, within_seconds=10)
    await writer.stop()
    assert writer.forgotten == 0


async def test_what_cannot_be_kept_is_forgotten_and_counted(settings: GatewaySettings) -> None:
    store = Store(msgspec.structs.replace(settings, database_url="postgresql://nobody@127.0.0.1:1/nothing"))
    await store.start()
    writer = Writer(store)
    (vector,) = vectors(1)
    for number in range(MAX_WAITING + 5):
        writer.remember(entry(vector, str(number)))
    assert writer.forgotten == 5
    await writer.start()

    async def all_forgotten() -> bool:
        return writer.forgotten == MAX_WAITING + 5

    await eventually(all_forgotten, within_seconds=10)
    await writer.stop()
    await store.stop()
