"""A gateway whose servers can be taken away, an upstream that does as each cell wants, and all cells at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from django.db import connections
from redis.asyncio import Redis

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.recording.spool import STREAM
from cacheproxy.redis_link import RedisAway
from tests.cacheproxy.gateway.conftest import PRICES
from tests.cacheproxy.gateway.world import PEPPER, Client, Tenant, connect, eventually, serving
from tests.cacheproxy.gateway.world import World as Rows
from tests.fakes.upstream import FakeUpstream, Received
from tests.fakes.wire import Wire, wire_to_postgres, wire_to_redis
from tests.faults import client
from tests.faults.client import Seen
from tests.faults.matrix import Cell, Leaves, World
from tests.faults.server import Pair, Play
from tests.faults.sharing import Scene

LATE_SECONDS = 0.35
"""How long a recording takes where a client is to leave before it ends."""


class Servers(NamedTuple):
    """Where PostgreSQL and Redis are."""

    database_url: str
    redis_url: str


class Played(NamedTuple):
    """What came of a cell."""

    seen: Seen
    events: Sequence[Any]
    kept: bool


class PlayedScene(NamedTuple):
    """What came of a leader and a follower."""

    leader: Seen
    follower: Seen
    calls: int
    events: Sequence[Any]


class Leftovers(NamedTuple):
    """What there was of a gateway after everything, which should be nothing."""

    leases: int
    works: int
    calls_upstream: int
    tasks: Sequence[str] = ()
    sockets: Sequence[str] = ()


class Stage(NamedTuple):
    """Where cells are played."""

    gateway: Gateway
    url: str
    rows: Rows
    redis: Any
    keys: dict[str, tuple[int, str]]
    """By the name of who calls: the id of its API key, and the key."""
    plays: dict[str, Any]
    """What is being played, by the prompt of its calls."""
    wires: tuple[Wire, Wire]
    """To PostgreSQL and to Redis."""

    async def take_away(self, world: World) -> None:
        """Cut the wires to what *world* has to do without."""
        postgres, redis = self.wires
        if world in {World.NO_POSTGRES, World.NEITHER}:
            postgres.cut()
        if world in {World.NO_REDIS, World.NEITHER}:
            redis.cut()

    async def mend(self) -> None:
        """Give everything back once the works have ended, and wait until what was spooled is recorded."""
        await asyncio.wait_for(self.gateway._flight.drain(), 30)
        for wire in self.wires:
            wire.late_seconds = 0
            wire.mend()

        async def well() -> bool:
            link = self.gateway._redis
            assert link is not None
            with contextlib.suppress(RedisAway):
                await link.ask("PING")
                return not self.gateway._recorder._away and not await self.redis.xlen(STREAM)
            return False

        await eventually(well, within_seconds=20)

    async def leftovers(self) -> Leftovers:
        """Return what there still is of the calls. Leases that could not be given up end by themselves."""

        async def no_lease() -> bool:
            return not await self.redis.keys("zerorate:flight:*")

        with contextlib.suppress(TimeoutError):
            await eventually(no_lease, within_seconds=4)
        return Leftovers(
            leases=len(await self.redis.keys("zerorate:flight:*")),
            works=len(self.gateway._flight._under_way) + len(self.gateway._coalescing._works),
            calls_upstream=sum(self.gateway._upstreams.calls_under_way().values()),
        )

    async def listened_to(self, prompt: str) -> None:
        """Return once two calls wait for the answer to *prompt*."""

        async def by_two() -> bool:
            works = self.gateway._coalescing._works.values()
            return any(work._listeners == 2 for work in works if prompt.encode() in work.leader.body)

        await eventually(by_two, within_seconds=20)


@contextlib.asynccontextmanager
async def staged(servers: Servers, callers: Iterable[str]) -> AsyncIterator[Stage]:
    """Yield a stage with everything in its place, and a key for each of *callers*."""
    database_url, redis_url = servers
    plays: dict[str, Any] = {}

    async def serve(call: Received, writer: asyncio.StreamWriter) -> None:
        await plays[call.document["messages"][0]["content"]].serve(call, writer)

    upstream = FakeUpstream(serve)
    await upstream.start()
    postgres, postgres_url = wire_to_postgres(database_url)
    redis, wired_redis_url = wire_to_redis(redis_url)
    await postgres.start()
    await redis.start()
    connection = await connect(database_url)
    rows = Rows(connection)
    tenant = await _furnish(rows, upstream)
    keys = {caller: await rows.add_key(tenant.id) for caller in callers}
    settings = GatewaySettings(
        database_url=postgres_url(postgres),
        redis_url=wired_redis_url(redis),
        key_pepper=PEPPER,
        retry_seconds=0.1,
        redis_budget_seconds=5.0,
        database_timeout_seconds=5.0,
    )
    async with Redis.from_url(redis_url) as client_of_redis, serving(settings) as (gateway, url):
        yield Stage(gateway, url, rows, client_of_redis, keys, plays, (postgres, redis))
    await connection.close()
    await upstream.stop()
    await postgres.stop()
    await redis.stop()


async def play(world: World, cells: Sequence[Cell], servers: Servers) -> tuple[dict[str, Played], Leftovers]:
    """Play all *cells* in *world*; return what came of each, and what was left of the gateway."""
    before = open_sockets()
    async with staged(servers, [cell.name for cell in cells]) as stage:
        keys = stage.keys
        await stage.take_away(world)
        seen = await _play_all(stage, [cell for cell in cells if cell.leaves is not Leaves.BEFORE_END], keys)
        for wire in stage.wires:
            wire.late_seconds = LATE_SECONDS
        seen |= await _play_all(stage, [cell for cell in cells if cell.leaves is Leaves.BEFORE_END], keys)
        await stage.mend()
        events = await stage.rows.events()
        async with aiohttp.ClientSession() as session:
            kept = {cell.name: await _is_kept(stage, session, cell, keys[cell.name][1]) for cell in cells}
        left = await stage.leftovers()
    left = await with_remnants(left, before)
    played = {
        cell.name: Played(
            seen[cell.name],
            _events_of(events, keys[cell.name][0]),
            kept[cell.name],
        )
        for cell in cells
    }
    return played, left


async def play_scenes(
    world: World, scenes: Sequence[Scene], servers: Servers
) -> tuple[dict[str, PlayedScene], Leftovers]:
    """Play all *scenes* in *world*, as `play` does."""
    before = open_sockets()
    async with staged(servers, [scene.name for scene in scenes]) as stage:
        await stage.take_away(world)
        pairs = [Pair(scene) for scene in scenes]
        stage.plays.update((pair.prompt, pair) for pair in pairs)
        async with asyncio.timeout(60):
            seen = await asyncio.gather(*(_play_scene(stage, pair) for pair in pairs))
        await asyncio.sleep(0.1)
        await stage.mend()
        events = await stage.rows.events()
        left = await stage.leftovers()
    left = await with_remnants(left, before)
    played = {
        pair.prompt: PlayedScene(*both, pair.calls, _events_of(events, stage.keys[pair.prompt][0]))
        for pair, both in zip(pairs, seen, strict=True)
    }
    return played, left


async def _play_scene(stage: Stage, pair: Pair) -> tuple[Seen, Seen]:
    key = stage.keys[pair.prompt][1]
    leader = asyncio.create_task(client.call(stage.url, key, pair, "qwen-small"))
    await pair.asked.wait()
    follower = asyncio.create_task(client.call(stage.url, key, pair.follower, "qwen-small"))
    await stage.listened_to(pair.prompt)
    pair.joined.set()
    return await leader, await follower


def _events_of(events: Sequence[Any], api_key_id: int) -> list[Any]:
    return [event for event in events if event["api_key_id"] == api_key_id]


async def _furnish(rows: Rows, upstream: FakeUpstream) -> Tenant:
    """Add a model whose server is well, one that is waited for a second only, and one that is not there."""
    await rows.add_model("qwen-small", f"{upstream.url}/v1", timeout_seconds=60)
    await rows.add_model("hasty", f"{upstream.url}/v1", timeout_seconds=60)
    await rows.sql.execute(
        "UPDATE cacheproxy_upstream SET first_byte_timeout_seconds = 1, idle_timeout_seconds = 1"
        " WHERE name = 'hasty-server'"
    )
    await rows.add_model("nowhere", "http://127.0.0.1:9/v1")
    prices = PRICES["qwen-small"]
    plan_id = await rows.add_plan("standard", dict.fromkeys(("qwen-small", "hasty", "nowhere"), prices), {})
    await rows.sql.execute(
        "UPDATE billing_plan SET concurrent_requests = 1000, tokens_per_minute = 1000000000"
    )
    return await rows.add_tenant("acme", plan_id)


def model_of(cell: Cell) -> str:
    """Return the model that the cell asks."""
    if cell.fault.name == "refuses":
        return "nowhere"
    return "hasty" if cell.fault.name.startswith("stalls") else "qwen-small"


async def _play_all(stage: Stage, cells: Sequence[Cell], keys: dict[str, tuple[int, str]]) -> dict[str, Seen]:
    plays = [Play(cell) for cell in cells]
    stage.plays.update((play.cell.name, play) for play in plays)
    async with asyncio.timeout(60):
        seen = await asyncio.gather(
            *(client.call(stage.url, keys[play.cell.name][1], play, model_of(play.cell)) for play in plays)
        )
    await asyncio.sleep(LATE_SECONDS if cells and cells[0].leaves is Leaves.BEFORE_END else 0.1)
    return {play.cell.name: one for play, one in zip(plays, seen, strict=True)}


async def _is_kept(stage: Stage, session: aiohttp.ClientSession, cell: Cell, key: str) -> bool:
    asked = await Client(session, stage.url, key).post(
        "/v1/chat/completions",
        client.question(cell.name, model_of(cell), streamed=False),
        {"cache-control": "only-if-cached"},
    )
    assert asked.status in {200, 504}, asked
    return asked.status == 200


async def with_remnants(left: Leftovers, sockets_before: frozenset[str]) -> Leftovers:
    """Add to *left* the tasks and sockets that are still there after a while in which they may end."""

    async def nothing() -> bool:
        return not _other_tasks() and open_sockets() <= sockets_before

    with contextlib.suppress(TimeoutError):
        await eventually(nothing)
    return left._replace(tasks=_other_tasks(), sockets=sorted(open_sockets() - sockets_before))


def _other_tasks() -> list[str]:
    return [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]


def open_sockets() -> frozenset[str]:
    """Return the sockets that this process has open, but for Django's, which opens again whenever it is asked."""
    ours = set(Path("/proc/self/fd").iterdir()) - {Path(f"/proc/self/fd/{number}") for number in _of_django()}
    return frozenset(filter(None, map(_socket, ours)))


def _of_django() -> list[int]:
    return [other.connection.fileno() for other in connections.all(initialized_only=True) if other.connection]


def _socket(link: Path) -> str:
    try:
        target = str(link.readlink())
    except OSError:  # closed in the meantime
        return ""
    return target if target.startswith("socket:") else ""
