"""Every cell of the failure matrix comes to what the table says, and nothing is left of any."""

import asyncio

import pytest

from tests.cacheproxy.gateway.test_streaming import DONE, text_of
from tests.faults.client import Seen
from tests.faults.conftest import emptied
from tests.faults.matrix import Cell, Leaves, Outcome, World, cells
from tests.faults.stage import Leftovers, Played, Servers, play

pytestmark = pytest.mark.django_db
"""So that there is a test database; the tests look at it by themselves."""

Show = tuple[World, dict[str, Played], Leftovers]


@pytest.fixture(scope="module", params=World, ids=lambda world: world.name.lower())
def show(request: pytest.FixtureRequest, servers: Servers) -> Show:
    """Play every cell of a world at once."""
    world: World = request.param
    with emptied(servers):
        return world, *asyncio.run(play(world, list(cells(world)), servers))


@pytest.mark.parametrize("cell", list(cells(World.WELL)), ids=lambda cell: cell.name)
def test_a_cell_comes_to_what_the_table_says(show: Show, cell: Cell) -> None:
    world, played, _ = show
    if cell.name not in played:
        assert world is World.NEITHER
        return
    seen, events, kept = played[cell.name]
    expected = cell.outcome(world)

    if cell.leaves is Leaves.NEVER:
        assert (seen.status, seen.code) == (expected.status, expected.code)
        check_said(cell, seen, expected)
    assert [f"{event['outcome']} {event['quality']}" for event in events] == [expected.event] * bool(
        expected.event
    )
    assert kept is expected.kept
    for event in events:
        assert seen.headers.get("x-request-id", str(event["event_id"])) == str(event["event_id"])


def check_said(cell: Cell, seen: Seen, expected: Outcome) -> None:
    """Check that a whole answer is whole, that a failed one cannot be taken for whole, and what its headers say."""
    if seen.headers["content-type"].startswith("text/event-stream"):
        assert seen.body.endswith(DONE) is (expected.code in {"", "of_its_own"})
        assert expected.code or text_of(seen.body) == "Hello there."
    elif not expected.code:
        assert seen.document["choices"][0]["message"]["content"] == "Hello there."
        assert seen.headers["cache-status"].endswith("; stored") is expected.kept
        assert ("x-zerorate-cost" in seen.headers) is bool(expected.event)
    assert ("retry-after" in seen.headers) is (seen.status == 503 and expected.code == "recorder_unavailable")


def test_nothing_is_left(show: Show) -> None:
    assert show[2] == Leftovers(leases=0, works=0, calls_upstream=0, tasks=[], sockets=[])
