"""Entries found by their vectors, in PostgreSQL."""

import asyncio
import hashlib
import re
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.errors import StoreAway
from cacheproxy.semantic.store import EXACT, FAILURES, NEAR, PAUSE_SECONDS, Store, Vector
from tests.cacheproxy.semantic.entries import ACME, NOW, STRANGER, entry, near, vectors
from tests.fakes.wire import wire_to_postgres


async def search(store: Store, vector: Vector, *, context: bytes = ACME, limit: int = 5) -> list[Any]:
    return await store.search(context, vector, now=NOW, limit=limit, seconds=5)


async def test_the_nearest_come_first(store: Store) -> None:
    (asked,) = vectors(1)
    found = {cosine: near(asked, cosine) for cosine in (0.95, 0.99, 0.7, 0.9)}
    await store.put([entry(vector, str(cosine)) for cosine, vector in found.items()], seconds=5)
    candidates = await search(store, asked, limit=3)
    assert [candidate.answer_key for candidate in candidates] == [b"k1:0.99", b"k1:0.95", b"k1:0.9"]
    assert [candidate.cosine for candidate in candidates] == pytest.approx([0.99, 0.95, 0.9], abs=2e-3)
    assert candidates[0].question == b"0.99"
    assert candidates[0].region == 3


async def test_another_context_is_never_seen(store: Store) -> None:
    (asked,) = vectors(1)
    await store.put([entry(asked, "theirs", context=STRANGER)], seconds=5)
    assert await search(store, asked) == []
    assert len(await search(store, asked, context=STRANGER)) == 1


async def test_expired_entries_are_not_found(store: Store) -> None:
    (asked,) = vectors(1)
    await store.put([entry(asked, "old", expires_at=NOW)], seconds=5)
    assert await search(store, asked) == []


async def test_the_same_entry_again_renews_its_time(store: Store) -> None:
    (asked,) = vectors(1)
    await store.put([entry(asked, "same", expires_at=NOW)], seconds=5)
    await store.put([entry(asked, "same")], seconds=5)
    assert len(await search(store, asked)) == 1


async def test_what_is_forgotten_is_gone(store: Store) -> None:
    (asked,) = vectors(1)
    await store.put([entry(asked, "one"), entry(near(asked, 0.9), "two")], seconds=5)
    await store.forget(ACME, b"k1:one", seconds=5)
    assert [candidate.question for candidate in await search(store, asked)] == [b"two"]


async def test_a_large_context_is_searched_by_its_index(settings: GatewaySettings, sql: Any) -> None:
    store = Store(settings, exact_entries=100)
    await store.start()
    drawn = vectors(400)
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(400)]
    contexts = [ACME, STRANGER]
    await store.put(
        [
            entry(vector, name, context=contexts[number % 2])
            for number, (name, vector) in enumerate(zip(names, drawn, strict=True))
        ],
        seconds=30,
    )
    mine = drawn[::2]
    for index in range(0, 200, 20):
        asked = near(mine[index], 0.9)
        candidates = await search(store, asked)
        assert candidates[0].question.decode() == names[2 * index]
        cosines = np.sort(mine @ asked)[::-1][:5]
        assert [candidate.cosine for candidate in candidates] == pytest.approx(list(cosines), abs=2e-2)
    await store.stop()


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(("statement", "more", "index"), [(NEAR, (), "embedding"), (EXACT, (101,), "pkey")])
async def test_the_planner_takes_the_index_that_is_meant(
    store: Store, mode: str, statement: str, more: tuple[int, ...], index: str
) -> None:
    (asked,) = vectors(1)
    await store.put([entry(vector, str(number)) for number, vector in enumerate(vectors(50))], seconds=5)
    async with store._connection(5) as connection:
        await connection.execute(f"SET plan_cache_mode = {mode}")
        lines = await connection.fetch(f"EXPLAIN {statement}", ACME, asked, NOW, 5, *more)
    plan = "\n".join(line[0] for line in lines)
    assert re.findall(r"Scan using cacheproxy_semanticentry_\d_(\w+?)(?:_idx)? on", plan) == [index]
    assert "Bitmap" not in plan


async def test_what_does_not_come_in_time_is_away_and_what_fails_is_left_alone(
    settings: GatewaySettings, sql: Any
) -> None:
    wire, url_through = wire_to_postgres(settings.database_url)
    await wire.start()
    store = Store(msgspec.structs.replace(settings, database_url=url_through(wire)))
    await store.start()
    (asked,) = vectors(1)
    await store.put([entry(asked, "kept")], seconds=5)

    wire.deaf = True
    started = time.monotonic()
    with pytest.raises(StoreAway, match="TimeoutError"):
        await store.search(ACME, asked, now=NOW, limit=5, seconds=0.05)
    assert time.monotonic() - started < 0.5

    wire.cut()
    for _ in range(FAILURES):
        with pytest.raises(StoreAway):
            await search(store, asked)
    with pytest.raises(StoreAway, match="left alone"):
        await search(store, asked)

    wire.mend()
    await asyncio.sleep(PAUSE_SECONDS)
    assert len(await search(store, asked)) == 1
    await store.stop()
    await wire.stop()
