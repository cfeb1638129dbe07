"""Can a tenant tell by the time an answer takes whether another tenant asked the same before?

Each question takes the upstream a time of its own. A tenant asks one that another asked a moment ago, and one that
nobody asked and that takes as long, in random order. If the two kinds of times come from one distribution, a random
one of the first is the slower of two random ones in half of the cases: that share is the area under the ROC curve, and
nobody who guesses from one time guesses better.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest

from tests.cacheproxy.gateway.pools.conftest import Members
from tests.cacheproxy.gateway.world import Client, World
from tests.fakes import upstream as fakes
from tests.fakes.upstream import FakeUpstream, Received

QUESTIONS = 80
LEAST_SECONDS, MOST_SECONDS = 0.01, 0.022
ALIKE = (0.35, 0.65)
"""The area's standard deviation for that many questions is below 0.05 where the kinds are alike."""


async def deliberate(call: Received, writer: asyncio.StreamWriter) -> None:
    """Answer after a time that the number at the question's end decides."""
    number = int(call.document["messages"][0]["content"].split()[-1])
    await asyncio.sleep(LEAST_SECONDS + (MOST_SECONDS - LEAST_SECONDS) * (number * 7 % QUESTIONS) / QUESTIONS)
    await fakes.default(call, writer)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Give a model server that takes its time."""
    server = FakeUpstream(deliberate)
    await server.start()
    yield server
    await server.stop()


class Times(NamedTuple):
    """How long a tenant's answers took, in seconds, and how many of the first were hits."""

    asked_before: Sequence[float]
    never_asked: Sequence[float]
    hits: int

    @property
    def area(self) -> float:
        """Return how often one that was asked before is the slower of two; of equal ones every second."""
        slower = sum(
            (one > other) + (one == other) / 2 for one in self.asked_before for other in self.never_asked
        )
        return slower / (len(self.asked_before) * len(self.never_asked))


async def measure(first: Client, second: Client) -> Times:
    """Let *second* ask what *first* asked, and what nobody did."""
    times: dict[str, list[float]] = {"known": [], "fresh": []}
    hits = 0
    await asyncio.gather(*(client.chat("warm 0") for client in (first, second) for _ in range(3)))
    for number in range(QUESTIONS):
        await first.chat(f"known {number}")
        for kind in random.sample(list(times), 2):
            began = time.perf_counter()
            given = await second.chat(f"{kind} {number}")
            times[kind].append(time.perf_counter() - began)
            hits += kind == "known" and "hit" in given.headers["cache-status"]
    return Times(times["known"], times["fresh"], hits)


def asked(upstream: FakeUpstream) -> int:
    return sum("warm" not in call.document["messages"][0]["content"] for call in upstream.received)


async def test_without_a_pool_every_tenant_asks_and_waits_for_itself(
    client: Client, stranger: Client, upstream: FakeUpstream
) -> None:
    times = await measure(client, stranger)
    assert times.hits == 0
    assert asked(upstream) == 3 * QUESTIONS
    assert ALIKE[0] <= times.area <= ALIKE[1]


async def test_in_a_pool_a_hit_can_be_told_by_its_time(
    client: Client, partner: Client, upstream: FakeUpstream
) -> None:
    """So these tests would see a leak."""
    times = await measure(client, partner)
    assert times.hits == QUESTIONS
    assert asked(upstream) == 2 * QUESTIONS
    assert times.area < 0.2


async def test_in_a_pool_that_holds_hits_back_it_cannot(
    client: Client, partner: Client, upstream: FakeUpstream, world: World, members: Members
) -> None:
    await world.sql.execute("UPDATE cacheproxy_cachepool SET pad_hits = true WHERE id = $1", members.pool_id)
    await asyncio.sleep(0.3)
    times = await measure(client, partner)
    assert times.hits == QUESTIONS
    assert asked(upstream) == 2 * QUESTIONS
    assert ALIKE[0] <= times.area <= ALIKE[1]
