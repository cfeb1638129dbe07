"""What a semantic hit takes end to end: HTTP to the gateway, and 100,000 questions of one context in PostgreSQL.

The questions are made up, their vectors are real (computed once, minutes of work, and kept in ``var/bench/vectors``).
Some of them are asked through the gateway, so that their answers are kept; then each of these in other words, once,
at one connection. Beside it what its parts take by themselves: the vector, the search, the verifier over what was
found; and an exact hit from memory, which is all the rest: HTTP, admission, the durable event. The targets: a median
under 10 ms, and under 400 MiB in PostgreSQL.
"""

import asyncio
import contextlib
import hashlib
import json
import statistics
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import psycopg

from benchmarks.entries import fill, mib
from benchmarks.gateway_hits import PATH
from benchmarks.load import Connection, is_whole, post
from benchmarks.questions import OPENINGS, questions, reworded
from benchmarks.results import Row, Target, path, progress, report
from benchmarks.stack import HOME, add_tenant, running, servers, serving
from cacheproxy.cache.at_rest import AtRest
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.encoder import Vectors
from cacheproxy.semantic.kept import Keeping, Kept
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.room import cells_of
from cacheproxy.semantic.store import Candidate, Entry, Store
from cacheproxy.semantic.tier import CANDIDATES
from cacheproxy.semantic.training import CHUNK_TEXTS, encode
from cacheproxy.semantic.verifier import DEFAULT_MODEL, Reading, Verifier

ENTRIES = 100_000
ASKED = 400
THRESHOLD = 0.9
"""Of the policy, so that hits are open from the beginning. It is their time that is measured, not how many there are:
most of the entries have no answer kept, and a lower one would find these."""
PATIENCE_MS = 1000
"""That a call may wait for its look-up: a slow hit is to be counted as slow, and not as none."""
SETTLE_SECONDS = 0.5
KEEPING = Keeping(AtRest())
TARGET_P50_MS = 10.0
TARGET_MIB = 400.0

Taken = list[float]
"""Milliseconds."""


class Answer(NamedTuple):
    """What came back, and when."""

    head: str
    taken_ms: float


class Client:
    """One connection, one request after the other."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = Connection("127.0.0.1", port)
        self._key = key

    def ask(self, text: str) -> Answer:
        """Return the answer to a question."""
        body = json.dumps({"model": "qwen-small", "messages": [{"role": "user", "content": text}]})
        request, received = post(PATH, self._key, body).encode(), b""
        started = time.perf_counter()
        self._connection.socket.sendall(request)
        while not is_whole(received):
            received += self._connection.socket.recv(65536)
        taken_ms = (time.perf_counter() - started) * 1000
        return Answer(received.partition(b"\r\n\r\n")[0].decode().lower(), taken_ms)


def main() -> None:
    """Measure, print the table, write the JSON."""
    encoder, verifier = LocalEncoder.open(HOME / "models"), Verifier.load()
    texts = questions()[:ENTRIES]
    vectors = encode(texts, encoder, path("vectors"), print)
    readings = _read(texts, vectors, verifier)
    asked = [text for text in texts if text.startswith(OPENINGS[0])][:ASKED]
    known = sorted(set(range(len(texts))) - set(map(texts.index, asked)))
    with servers() as environment, contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running("benchmarks.upstream", environment=environment))
        key = add_tenant(environment, f"http://127.0.0.1:{upstream.port}/v1")
        url = environment["DATABASE_URL"]
        _allow(url)
        patient = environment | {"SEMANTIC_BUDGET_MS": str(PATIENCE_MS)}
        gateway = stack.enter_context(serving("config.gateway:application", patient))
        client = Client(gateway.port, key)
        sample = _sample(url, client, texts[-1])
        unasked = [texts[number] for number in known], [readings[number] for number in known], vectors[known]
        fill(url, _entries(sample, *unasked))
        for text in asked:
            client.ask(text)
        kept = _settle(url)
        answers = [client.ask(reworded(text)) for text in progress("semantic_hits", asked)]
        exact = [client.ask(text).taken_ms for text in asked]
        parts = asyncio.run(_parts(url, encoder, verifier, sample.context, asked))
        _report(answers, exact, parts, mib(url), kept)
    encoder.close()


def _allow(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as sql:
        policy = json.dumps({"semantic": {"threshold": THRESHOLD}})
        sql.execute("UPDATE cacheproxy_servedmodel SET cache = %s", [policy])
        sql.execute("TRUNCATE cacheproxy_semanticentry, cacheproxy_semanticbudget")


def _sample(url: str, client: Client, text: str) -> Entry:
    """Return the entry that the gateway makes of *text*: others are to have its context."""
    client.ask(text)
    _settle(url)
    with psycopg.connect(url) as sql:
        columns = ", ".join(Entry._fields).replace("vector", "embedding::text")
        row = sql.execute(f"SELECT {columns} FROM cacheproxy_semanticentry").fetchone()
    assert row is not None
    return Entry(*row)


def _settle(url: str) -> int:
    """Wait until the gateway writes no more entries, and return how many there are."""
    count, before = 0, -1
    with psycopg.connect(url, autocommit=True) as sql:
        while count != before:
            time.sleep(SETTLE_SECONDS)
            row = sql.execute("SELECT count(*) FROM cacheproxy_semanticentry").fetchone()
            assert row is not None
            before, count = count, row[0]
    return count


def _read(texts: Sequence[str], vectors: Vectors, verifier: Verifier) -> list[bytes]:
    """Return the readings of the questions; what an earlier run read is not read again."""
    release = hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest()[:12]
    readings: list[bytes] = []
    for first in range(0, len(texts), CHUNK_TEXTS):
        file = path(f"vectors/readings-{release}-{first}.msgpack")
        if not file.exists():
            chunk = zip(texts[first : first + CHUNK_TEXTS], vectors[first : first + CHUNK_TEXTS], strict=True)
            file.write_bytes(msgspec.msgpack.encode([verifier.read(*each).pack() for each in chunk]))
        readings += msgspec.msgpack.decode(file.read_bytes(), type=list[bytes])
    return readings


def _entries(
    sample: Entry, texts: Sequence[str], readings: Sequence[bytes], vectors: Vectors
) -> Iterator[Entry]:
    now = datetime.now(UTC)
    for text, reading, vector, cell in zip(texts, readings, vectors, cells_of(vectors), strict=True):
        key = b"k1:" + hashlib.sha256(text.encode()).hexdigest().encode()
        kept = KEEPING.wrap(sample.context, key, Kept(text, reading, b""))
        yield sample._replace(answer_key=key, region=cell, created_at=now, question=kept, vector=vector)


async def _parts(
    url: str, encoder: LocalEncoder, verifier: Verifier, context: bytes, asked: Sequence[str]
) -> Mapping[str, Taken]:
    """Return what each part of a look-up takes by itself, of questions that are asked in yet other words."""
    store = Store(GatewaySettings(database_url=url, key_pepper=""))
    await store.start()
    taken: dict[str, Taken] = {"vector": [], "search": [], "verifier": []}

    async def timed(part: str, work: Awaitable[Any]) -> Any:
        started = time.perf_counter()
        result = await work
        taken[part].append((time.perf_counter() - started) * 1000)
        return result

    for text in asked:
        (vector,) = await timed("vector", encoder.encode([f"Tell me, {reworded(text)}"]))
        search = store.search(context, vector, now=datetime.now(UTC), limit=CANDIDATES, seconds=5)
        candidates = await timed("search", search)
        await timed("verifier", asyncio.to_thread(_judge, verifier, context, text, vector, candidates))
    await store.stop()
    return taken


def _judge(
    verifier: Verifier, context: bytes, text: str, vector: Any, candidates: Sequence[Candidate]
) -> None:
    new = verifier.read(text, vector)
    for candidate in candidates:
        kept = KEEPING.unwrap(context, candidate.answer_key, candidate.question)
        verifier.judge(new, Reading.unpack(kept.reading), candidate.cosine)


def _report(
    answers: Sequence[Answer], exact: Taken, parts: Mapping[str, Taken], room: Mapping[str, float], kept: int
) -> None:
    hits = [answer.taken_ms for answer in answers if "detail=semantic" in answer.head]
    rows = [
        _row("semantic hit, end to end", hits),
        *(_row(f"  its {name}", each) for name, each in parts.items()),
    ]
    rows.append(_row("exact hit from memory", exact))
    sizes = ", ".join(f"{kind} {size:.0f} MiB" for kind, size in sorted(room.items()))
    report(
        "semantic_hits",
        f"one gateway, 1 connection, {kept:,} questions in one context; milliseconds",
        rows,
        [
            Target("p50 of semantic hits, ms", statistics.median(hits), TARGET_P50_MS, at_most=True),
            Target(f"{kept:,} entries in PostgreSQL, MiB", sum(room.values()), TARGET_MIB, at_most=True),
        ],
        f"{len(hits)} of {len(answers)} were hits; room: {sizes}",
    )


def _row(name: str, taken: Taken) -> Row:
    centiles = statistics.quantiles(taken, n=100)
    return {"": name, "calls": len(taken), "p50_ms": round(centiles[49], 2), "p99_ms": round(centiles[98], 2)}


if __name__ == "__main__":
    main()
