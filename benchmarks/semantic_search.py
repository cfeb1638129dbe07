"""How long a semantic look-up takes: a question to its vector, and its nearest among 100,000 entries in PostgreSQL.

The entries are as a deployment may have them: 60,000 in one context (a help desk: everybody under one system prompt),
100 contexts of 100, the rest in conversations of two. Vectors are those of 2,000 questions and mixtures of them.
Every search's answer is held against an exhaustive one. Verifying what is found is not in it.
"""

import asyncio
import hashlib
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from benchmarks.entries import fill, mib
from benchmarks.results import Target, report
from benchmarks.stack import HOME, servers
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.store import Entry, Store, Vector

ENTRIES = 100_000
LARGE, MIDDLE, MIDDLE_EACH, SMALL_EACH = 60_000, 100, 100, 2
QUESTIONS = 2_000
ROUNDS = 200
AT_ONCE = 8
WRITTEN = 500
HALF_FLOATS = 2e-3
"""What a cosine may be off by for being kept in them."""
TARGET_P50_MS = 10.0
TARGET_MIB = 400.0
NOW = datetime.now(UTC)
DAY = timedelta(days=1)

OPENINGS = (
    "How do I",
    "What is the best way to",
    "Where can I",
    "Is it possible to",
    "Please tell me how to",
)
ACTIONS = ("change", "cancel", "renew", "download", "share", "delete", "find", "pay for", "print", "insure")
THINGS = (
    "my subscription", "an invoice", "the delivery address", "a train ticket", "my password", "the warranty",
    "a parcel", "my bank card", "the photographs", "a meeting room", "two tickets to Lisbon", "the tax form",
    "a second user", "my medical records", "the rental contract", "an old backup",
)  # fmt: skip
ENDINGS = ("", " today", " by telephone", " from abroad", " without an account")


def main() -> None:
    """Measure, print the table, write the JSON."""
    encoder = LocalEncoder.open(HOME / "models")
    texts = [
        " ".join(parts[:3]) + parts[3] for parts in itertools.product(OPENINGS, ACTIONS, THINGS, ENDINGS)
    ]
    known, asked = texts[:QUESTIONS], [f"{text}, please?" for text in texts[:: QUESTIONS // ROUNDS]]
    vectors = _mixtures(encoder.encode_now(known))
    with servers() as environment:
        url = environment["DATABASE_URL"]
        contexts = _fill(url, vectors)
        rows, written_ms = asyncio.run(_measure(url, encoder, vectors, contexts, asked[:ROUNDS]))
        _report(rows, written_ms, mib(url))
    encoder.close()


def _mixtures(known: Vector) -> Vector:
    random = np.random.default_rng(1)
    left, right = random.integers(0, len(known), (2, ENTRIES - len(known)))
    share = random.uniform(0.55, 0.8, (len(left), 1)).astype(np.float32)
    mixed = share * known[left] + (1 - share) * known[right]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    vectors: Vector = random.permutation(np.concatenate([known, mixed]))
    return vectors


def _fill(url: str, vectors: Vector) -> list[bytes]:
    """Write the entries, index last, and return the context of each."""
    names = ["large"] * LARGE + [f"middle {n // MIDDLE_EACH}" for n in range(MIDDLE * MIDDLE_EACH)]
    names += [f"small {n // SMALL_EACH}" for n in range(ENTRIES - len(names))]
    contexts = [hashlib.sha256(name.encode()).digest() for name in names]
    fill(
        url,
        (
            _entry(context, number, vector)
            for number, (context, vector) in enumerate(zip(contexts, vectors, strict=True))
        ),
    )
    return contexts


def _entry(context: bytes, number: int, vector: Vector) -> Entry:
    key = b"k1:" + hashlib.sha256(b"%d" % number).hexdigest().encode()
    question = f"A question of usual length, the {number}th of them, asked once?".encode()
    scope = context[:16]
    return Entry(context, key, 1, scope, "qwen-small", "1", 0, NOW, NOW + DAY, question, vector)


async def _measure(
    url: str, encoder: LocalEncoder, vectors: Vector, contexts: Sequence[bytes], asked: Sequence[str]
) -> tuple[list[dict[str, Any]], float]:
    store = Store(GatewaySettings(database_url=url, key_pepper=""))
    await store.start()
    rows = []
    for name, context in (("large", contexts[0]), ("of 100", contexts[LARGE]), ("of 2", contexts[-1])):
        look_ups = _LookUps(encoder, store, context)
        await _all(
            look_ups.ask, asked[:AT_ONCE], AT_ONCE
        )  # connections and plans are made, the context is known
        mine = vectors[[each == context for each in contexts]]
        for at_once in (1, AT_ONCE):
            look_ups.found.clear()
            taken = await _all(look_ups.ask, asked, at_once)
            nearest = statistics.fmean(
                cosine >= float((mine @ vector).max()) - HALF_FLOATS for vector, cosine in look_ups.found
            )
            rows.append({"context": name, "at once": at_once, **taken, "nearest found": f"{nearest:.1%}"})

    async def encode(text: str) -> None:
        await encoder.encode([text])

    for at_once in (1, AT_ONCE):
        taken = await _all(encode, asked, at_once)
        rows.append({"context": "(encoding alone)", "at once": at_once, **taken, "nearest found": ""})
    started = time.perf_counter()
    fresh = np.roll(vectors[:WRITTEN], 1, axis=1)
    await store.put([_entry(contexts[0], ENTRIES + n, vector) for n, vector in enumerate(fresh)], seconds=60)
    written_ms = (time.perf_counter() - started) / WRITTEN * 1000
    await store.stop()
    return rows, written_ms


class _LookUps:
    """Looks questions up in one context, and keeps what was nearest."""

    def __init__(self, encoder: LocalEncoder, store: Store, context: bytes) -> None:
        self._encoder = encoder
        self._store = store
        self._context = context
        self.found: list[tuple[Vector, float]] = []

    async def ask(self, text: str) -> None:
        (vector,) = await self._encoder.encode([text])
        nearest = await self._store.search(self._context, vector, now=NOW, limit=5, seconds=5)
        self.found.append((vector, nearest[0].cosine))


async def _all(
    ask: Callable[[str], Awaitable[None]], texts: Sequence[str], at_once: int
) -> Mapping[str, float]:
    """Ask all *texts*, so many at once; return p50 and p99 in milliseconds."""
    waiting, taken_ms = iter(texts), []

    async def one_after_the_other() -> None:
        for text in waiting:
            started = time.perf_counter()
            await ask(text)
            taken_ms.append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    centiles = statistics.quantiles(taken_ms, n=100)
    return {"p50_ms": round(centiles[49], 2), "p99_ms": round(centiles[98], 2)}


def _report(rows: list[dict[str, Any]], written_ms: float, room: Mapping[str, float]) -> None:
    parts = ", ".join(f"{kind} {size:.0f} MiB" for kind, size in sorted(room.items()))
    title = f"encode and search among {ENTRIES:,} entries; milliseconds"
    targets = [
        Target("p50 in the large context, ms", rows[0]["p50_ms"], TARGET_P50_MS, at_most=True),
        Target("in PostgreSQL, MiB", sum(room.values()), TARGET_MIB, at_most=True),
    ]
    report(
        "semantic_search", title, rows, targets, f"room: {parts}", f"written: {written_ms:.1f} ms an entry"
    )


if __name__ == "__main__":
    main()
