"""Traffic written for this project, replayed through a gateway: what of it hits, and as what."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import aiohttp
import msgspec

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.verifier import Verifier
from tests.cacheproxy.gateway.rewordings.conftest import PRICES
from tests.cacheproxy.gateway.rewordings.talk import remembered
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.upstream import FakeUpstream
from tests.stack import models_dir

TRAFFIC = json.loads((Path(__file__).parents[3] / "recordings/semantic_development.json").read_text())
SEEDS = {seed["id"]: seed["text"] for seed in TRAFFIC["seeds"]}


async def replayed(client: Client, texts: Iterable[str]) -> Sequence[tuple[str, str]]:
    """Return of each call whether it was `stored`, `exact` or `semantic`, and the call whose answer it got."""
    answers = [(await client.chat(text)).headers for text in texts]
    return [
        (
            answer["cache-status"].split(";")[-1].split("=")[-1].strip(),
            answer.get("x-zerorate-source", answer["x-request-id"]),
        )
        for answer in answers
    ]


async def test_repetitions_and_rewordings_hit_and_nothing_else(
    gateway_settings: GatewaySettings, session: aiohttp.ClientSession, world: World, upstream: FakeUpstream
) -> None:
    settings = msgspec.structs.replace(gateway_settings, models_dir=str(models_dir()), max_background_calls=0)
    policy = {"semantic": {"threshold": Verifier.load().threshold}}
    await world.add_model("qwen-small", f"{upstream.url}/v1", cache=policy)
    plan_id = await world.add_plan("standard", {"qwen-small": PRICES}, {"semantic": "80"})
    tenant = await world.add_tenant("acme", plan_id)
    async with serving(settings) as (_, url):
        client = Client(session, url, tenant.key)
        first = await replayed(client, SEEDS.values())
        await remembered(world, 100)
        exact = await replayed(client, [SEEDS[seed] for seed in TRAFFIC["exact"]])
        rewordings, fresh, traps = [
            await replayed(client, [each["text"] for each in TRAFFIC[kind]])
            for kind in ("rewordings", "fresh", "traps")
        ]
    asked = dict(zip(SEEDS, (event for _, event in first), strict=True))
    assert {kind for kind, _ in (*first, *fresh, *traps)} == {"stored"}
    assert exact == [("exact", asked[seed]) for seed in TRAFFIC["exact"]]
    hits = [
        (source, asked[each["of"]])
        for (kind, source), each in zip(rewordings, TRAFFIC["rewordings"], strict=True)
        if kind == "semantic"
    ]
    assert len(hits) >= 46
    assert all(source == seed for source, seed in hits)
