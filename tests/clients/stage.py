"""Where clients act: a gateway in a process of its own, with servers behind it, and what is known of each call."""

import asyncio
import contextlib
import inspect
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple

import psycopg

from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.openai.server import FakeOpenAI
from tests.fakes.upstream import FakeUpstream

EVENTS = "SELECT * FROM metering_usageevent WHERE request_id = %s"

Form = Callable[..., Awaitable[Any]]
"""Asks in one of the forms that a client has for the same, and returns what a program sees of the answer."""

_numbers = itertools.count(1)


class Loop:
    """An event loop in a thread, for servers that synchronous clients speak to, too."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what *work* returns, once it has."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Stage(NamedTuple):
    """The gateway's URL, a connection to where its events are, the servers behind it, and keys."""

    url: str
    ledger: psycopg.Connection[Any]
    openai: FakeOpenAI
    anthropic: FakeAnthropic
    predict_port: int
    """Where the server of the models `measure-…` is expected; tests that need it start it."""
    key: str
    """Of a tenant with a plan for every model but `unpriced`."""
    limited_key: str
    """Of a tenant that may make 60 calls, and one more every second."""

    def events(self, request_id: str) -> list[Any]:
        """Return the events of one call."""
        return self.ledger.execute(EVENTS, [request_id]).fetchall()

    def event(self, request_id: str) -> Any:
        """Return the one event of a call."""
        (event,) = self.events(request_id)
        return event

    def event_count(self) -> int:
        """Return how many events there are."""
        (row,) = self.ledger.execute("SELECT count(*) FROM metering_usageevent").fetchall()
        return int(row.count)


class Told(NamedTuple):
    """What the head of an answer says."""

    status: int
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def cache_status(self) -> str:
        return self.headers["cache-status"]


class Heads(list[Told]):
    """The heads of all answers that came, those that the client made nothing of included."""

    def hooks(self, *, asynchronous: bool) -> Any:
        """Return what an httpx client takes to let us know."""

        def note(response: Any) -> None:
            self.append(Told(response.status_code, dict(response.headers)))

        async def note_later(response: Any) -> None:
            note(response)

        return {"response": [note_later if asynchronous else note]}


def fresh(text: str) -> str:
    """Return a text that nobody has asked before."""
    return f"{text} {next(_numbers)}"


async def got(value: Any) -> Any:
    """Return what a client's method returns, synchronous or not."""
    return await value if inspect.isawaitable(value) else value


async def each(items: Any) -> list[Any]:
    """Return all items of a stream, synchronous or not."""
    return [item async for item in items] if hasattr(items, "__aiter__") else list(items)


@contextlib.asynccontextmanager
async def within(manager: Any) -> AsyncIterator[Any]:
    """Enter a context, synchronous or not."""
    if hasattr(manager, "__aenter__"):
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered


def expect_miss(stage: Stage, told: Told, *, streamed: bool = False) -> Any:
    """Return the event of a call that the upstream answered; what its head says fits it."""
    event = stage.event(told.request_id)
    assert told.cache_status == "zerorate; fwd=miss" + ("" if streamed else "; stored")
    assert event.outcome == "miss"
    assert str(event.event_id) == told.request_id
    if not streamed:  # what a stream costs is not known when it begins
        assert told.headers["x-zerorate-cost"] == told.headers["x-zerorate-list-cost"]
        assert told.headers["x-zerorate-saved"] == "0 USD"
    return event


def expect_hit(stage: Stage, told: Told, miss: Any) -> Any:
    """Return the event of a call that was answered with what *miss* had paid for; what its head says fits it."""
    event = stage.event(told.request_id)
    assert told.cache_status.startswith("zerorate; hit; ttl=")
    assert told.cache_status.endswith("; detail=exact")
    assert int(told.headers["age"]) >= 0
    assert told.headers["x-zerorate-source"] == str(event.source_event) == str(miss.event_id)
    assert told.headers["x-zerorate-cost"] == "0 USD"
    assert told.headers["x-zerorate-saved"] == told.headers["x-zerorate-list-cost"]
    assert event.outcome == "exact"
    for pool in ("input", "cache_read", "cache_write", "output", "output_reasoning", "units"):
        assert getattr(event, pool) == getattr(miss, pool)
    return event


@contextlib.contextmanager
def calls_to(upstream: FakeUpstream, expected: int) -> Iterator[None]:
    """Expect so many calls of an upstream while the block lasts."""
    before = len(upstream.received)
    yield
    assert len(upstream.received) - before == expected


async def eventually(check: Any, *, seconds: float = 5) -> Any:
    """Return what *check* returns once that is something."""
    async with asyncio.timeout(seconds):
        while not (found := check()):  # noqa: ASYNC110 - what is waited for happens in other programs
            await asyncio.sleep(0.02)
    return found
