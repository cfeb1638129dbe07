"""Nothing that goes wrong in the semantic tier is a client's business: the upstream is asked."""

import contextlib

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.errors import EncoderMissing
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, Draw, Semantic, findings, remembered
from tests.cacheproxy.gateway.world import Client, World, eventually, serving
from tests.cacheproxy.semantic.judge import Opinion, WordJudge, Words
from tests.fakes.upstream import FakeUpstream

MISS = "zerorate; fwd=miss; stored"
ENTRIES = "SELECT answer_key FROM cacheproxy_semanticentry"


class BrokenJudge(WordJudge):
    """Has a bug."""

    def judge(self, new: Words, stored: Words, cosine: float) -> Opinion:
        raise ZeroDivisionError


async def test_a_question_whose_answer_is_gone_is_forgotten(
    client: Client, world: World, gateway: tuple[Gateway, str]
) -> None:
    shown = await client.chat(ASKED, headers={"x-zerorate-show-key": "true"})
    await remembered(world)
    gateway[0]._tiers.discard(shown.headers["x-zerorate-key"].encode())
    assert (await client.chat(REWORDED)).headers["cache-status"] == MISS

    async def only_the_new_one() -> bool:
        names = [bytes(row["answer_key"]).decode() for row in await world.sql.fetch(ENTRIES)]
        return len(names) == 1 and names != [shown.headers["x-zerorate-key"]]

    await eventually(only_the_new_one)
    assert findings(gateway) == {"none": 1, "gone": 1}
    hit = await client.chat("How can we cancel my train ticket?")
    assert hit.headers["cache-status"].endswith("detail=semantic")


async def test_while_redis_is_away_nothing_is_taken_for_gone(
    wires: Wires, client: Client, cast: Cast, world: World, semantic: Semantic
) -> None:
    """One gateway keeps the answer; another that never saw it cannot reach Redis."""
    await client.chat(ASKED)
    await remembered(world)
    async with serving(wires.gateway_settings, open_tier=semantic.open) as (other, url):
        wires.redis.cut()
        there = Client(client.session, url, cast.acme.key)
        assert (await there.chat(REWORDED)).headers["cache-status"] == MISS
        assert findings((other, url)) == {"gone": 1}
    await remembered(world, 2)


async def test_a_look_up_that_is_late_is_a_miss_that_is_remembered(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    semantic: Semantic,
) -> None:
    hasty = msgspec.structs.replace(gateway_settings, semantic_budget_seconds=0.0001)
    async with serving(hasty, open_tier=semantic.open) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        for text in (ASKED, REWORDED):
            assert (await client.chat(text)).headers["cache-status"] == MISS
        await remembered(world, 2)
        assert findings((gateway, url)) == {"late": 2}


async def test_without_the_extra_the_gateway_says_so_once_and_goes_on(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    cast: Cast,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def open_tier(*_: object) -> "contextlib.AbstractAsyncContextManager[object]":
        raise EncoderMissing("The local encoder cannot run: install the extra `semantic`.")

    async with serving(gateway_settings, open_tier=open_tier) as (gateway, url):  # type: ignore[arg-type]
        client = Client(session, url, cast.acme.key)
        for text in (ASKED, REWORDED):
            assert (await client.chat(text)).headers["cache-status"] == MISS
        assert findings((gateway, url)) == {"off": 2}
        report = gateway.health.report()
    assert report.ready
    assert report.lines[1].startswith("degraded: semantic hits are off: The local encoder cannot run")
    said = [record for record in caplog.records if "Semantic hits are off" in record.message]
    assert len(said) == 1


async def test_a_bug_of_the_judge_costs_no_answer(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    encoder: LocalEncoder,
    draw: Draw,
    caplog: pytest.LogCaptureFixture,
) -> None:
    semantic = Semantic(encoder, draw, judge=BrokenJudge)
    async with serving(gateway_settings, open_tier=semantic.open) as (gateway, url):
        client = Client(session, url, cast.acme.key)
        await client.chat(ASKED)
        await remembered(world)
        assert (await client.chat(REWORDED)).headers["cache-status"] == MISS
        assert findings((gateway, url)) == {"none": 1, "error": 1}
    assert "was not looked for in other words" in caplog.text


async def test_nobody_who_wants_it_opens_nothing(
    gateway_settings: GatewaySettings, world: World, upstream: FakeUpstream, semantic: Semantic
) -> None:
    await world.add_model("to-the-letter", f"{upstream.url}/v1")
    async with serving(gateway_settings, open_tier=semantic.open):
        assert not semantic.opened
        await world.sql.execute(
            "UPDATE cacheproxy_servedmodel SET cache = $1 WHERE name = 'to-the-letter'", '{"semantic": {}}'
        )

        async def is_open() -> bool:
            return bool(semantic.opened)

        await eventually(is_open, within_seconds=5)
