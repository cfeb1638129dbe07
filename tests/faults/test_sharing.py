"""Leader and follower: whoever leaves, one upstream call at most is lost, and each event is there once."""

import asyncio

import pytest

from tests.faults.conftest import emptied
from tests.faults.matrix import World
from tests.faults.sharing import SCENES, Scene
from tests.faults.stage import Leftovers, PlayedScene, Servers, play_scenes

pytestmark = pytest.mark.django_db
"""So that there is a test database; the tests look at it by themselves."""

Show = tuple[dict[str, PlayedScene], Leftovers]


@pytest.fixture(
    scope="module",
    params=[World.WELL, World.NO_POSTGRES, World.NO_REDIS],
    ids=lambda world: world.name.lower(),
)
def show(request: pytest.FixtureRequest, servers: Servers) -> Show:
    """Play every scene at once."""
    with emptied(servers):
        return asyncio.run(play_scenes(request.param, SCENES, servers))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_scene_comes_to_what_the_table_says(show: Show, scene: Scene) -> None:
    leader, follower, calls, events = show[0][scene.name]

    assert (leader.status, follower.status) == (scene.leader_sees, scene.follower_sees)
    assert calls == scene.calls
    assert tuple(f"{event['outcome']} {event['quality']}" for event in events) == scene.events
    misses = [event["event_id"] for event in events if event["outcome"] == "miss"]
    assert all(event["source_event"] in misses for event in events if event["outcome"] == "coalesced")


def test_nothing_is_left(show: Show) -> None:
    assert show[1] == Leftovers(leases=0, works=0, calls_upstream=0, tasks=[], sockets=[])
