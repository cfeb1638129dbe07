"""An invalidation ends what questions in other words would get, too."""

from collections.abc import Mapping

import pytest

from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, remembered
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import FakeUpstream

ANNE = {"x-zerorate-session": "anne"}
TAGGED = {"x-zerorate-cache-tags": "timetable"}


async def ended(client: Client, upstream: FakeUpstream, headers: Mapping[str, str]) -> bool:
    """Return whether a question in other words is a miss by now."""
    only = {**headers, "cache-control": "only-if-cached"}
    return (await client.chat(REWORDED, headers=only)).status == 504


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ({}, {}),
        ({}, {"model": "qwen-small"}),
        ({}, {"model": "qwen-small", "version": "1"}),
        (ANNE, {"session": "anne"}),
        (TAGGED, {"tag": "timetable"}),
    ],
    ids=["tenant", "model", "version", "session", "tag"],
)
async def test_every_place_ends_it(
    client: Client,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
    headers: Mapping[str, str],
    place: Mapping[str, str],
) -> None:
    await client.chat(ASKED, headers=headers)
    await remembered(world)
    assert not await ended(client, upstream, headers)
    await world.invalidate(cast.acme.id, **place)
    await eventually(lambda: ended(client, upstream, headers))
    fresh = await client.chat(REWORDED, headers=headers)
    assert fresh.headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_a_key_ends_it_however_often_it_is_invalidated(
    client: Client, cast: Cast, world: World, upstream: FakeUpstream
) -> None:
    shown = await client.chat(ASKED, headers={"x-zerorate-show-key": "true"})
    await remembered(world)
    for _ in "ab":
        assert not await ended(client, upstream, {})
        await world.invalidate(cast.acme.id, key=shown.headers["x-zerorate-key"])
        await eventually(lambda: ended(client, upstream, {}))
        again = await client.chat(ASKED)
        assert again.headers["cache-status"] == "zerorate; fwd=miss; stored"
        await remembered(world)


async def test_a_new_version_of_the_model_begins_anew(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    await client.chat(ASKED)
    await remembered(world)
    assert not await ended(client, upstream, {})
    await world.sql.execute("UPDATE cacheproxy_servedmodel SET version = '2' WHERE name = 'qwen-small'")
    await eventually(lambda: ended(client, upstream, {}))
