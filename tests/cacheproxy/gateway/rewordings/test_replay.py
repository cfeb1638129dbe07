"""Traffic written for this project, replayed through a gateway: what of it hits, and as what."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import msgspec

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.verifier import Verifier
from tests.cacheproxy.gateway.rewordings.conftest import MODELS, PRICES
from tests.cacheproxy.gateway.rewordings.talk import remembered
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.upstream import FakeUpstream

TRAFFIC = json.loads((Path(__file__).parents[3] / "recordings/semantic_development.json").read_text())
SEEDS = {seed["id"]: seed["text"] for seed in TRAFFIC["seeds"]}


async def replayed(client: Client, texts: Iterable[str]) -> Counter[str]:
    """Return how often the calls were a `miss`, `exact` or `semantic`."""
    answers = [await client.chat(text) for text in texts]
    return Counter(answer.headers["cache-status"].split(";")[-1].split("=")[-1].strip() for answer in answers)


async def test_repetitions_and_rewordings_hit_and_nothing_else(
    gateway_settings: GatewaySettings, session: aiohttp.ClientSession, world: World, upstream: FakeUpstream
) -> None:
    settings = msgspec.structs.replace(gateway_settings, models_dir=str(MODELS), max_background_calls=0)
    policy = {"semantic": {"threshold": Verifier.load().threshold}}
    await world.add_model("qwen-small", f"{upstream.url}/v1", cache=policy)
    plan_id = await world.add_plan("standard", {"qwen-small": PRICES}, {"semantic": "80"})
    tenant = await world.add_tenant("acme", plan_id)
    async with serving(settings) as (_, url):
        client = Client(session, url, tenant.key)
        assert await replayed(client, SEEDS.values()) == {"stored": 100}
        await remembered(world, 100)
        exact = await replayed(client, [SEEDS[seed] for seed in TRAFFIC["exact"]])
        rewordings, fresh, traps = [
            await replayed(client, [each["text"] for each in TRAFFIC[kind]])
            for kind in ("rewordings", "fresh", "traps")
        ]
    assert exact == {"exact": 50}
    assert rewordings["semantic"] >= 46
    assert fresh == {"stored": 100}
    assert traps == {"stored": 50}
