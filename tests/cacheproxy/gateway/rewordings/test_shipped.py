"""The tier as it is shipped: the local encoder, the trained verifier, and no more said than a policy."""

import aiohttp
import msgspec

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.rewordings.talk import ASKED, REWORDED, TRAP, findings, remembered
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.upstream import FakeUpstream
from tests.stack import models_dir


async def test_a_rewording_is_a_hit_and_traps_are_none(
    gateway_settings: GatewaySettings,
    session: aiohttp.ClientSession,
    cast: Cast,
    world: World,
    upstream: FakeUpstream,
) -> None:
    settings = msgspec.structs.replace(gateway_settings, models_dir=str(models_dir()), max_background_calls=0)
    async with serving(settings) as (gateway, url):
        assert gateway.health.report().lines == ["ready"]
        client = Client(session, url, cast.acme.key)
        await client.chat(ASKED)
        await remembered(world)
        traps = [TRAP, "How do I buy my train ticket?", "How don't I cancel my train ticket?"]
        for number, trap in enumerate(traps, 2):
            refused = await client.chat(trap)
            assert refused.headers["cache-status"] == "zerorate; fwd=miss; stored", trap
            await remembered(world, number)
        hit = await client.chat(REWORDED)
        assert hit.headers["cache-status"].endswith("detail=semantic")
        assert findings((gateway, url))["hit"] == 1
    assert len(upstream.received) == 4
