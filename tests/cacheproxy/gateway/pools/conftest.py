"""Fixtures of the pools' tests: acme and partner share what qwen-small and embedder answer; the stranger does not."""

import json
from typing import NamedTuple

import aiohttp
import pytest

from cacheproxy.gateway.asgi import Gateway
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, Tenant, World

POLICY = {"scope": "pool", "pool": "public"}


class Members(NamedTuple):
    """The pool, and who is in it beside acme."""

    pool_id: int
    partner: Tenant


async def set_policy(world: World, **changes: object) -> None:
    """Let the models' answers be shared, under a policy with some fields changed."""
    await world.sql.execute(
        "UPDATE cacheproxy_servedmodel SET cache = $1 WHERE name <> 'ocr'", json.dumps(POLICY | changes)
    )


@pytest.fixture(autouse=True)
async def members(world: World, cast: Cast) -> Members:
    """Give the pool."""
    await set_policy(world)
    partner = await world.add_tenant("partner", cast.plan_id)
    return Members(await world.add_pool("public", cast.acme, partner), partner)


@pytest.fixture
def partner(session: aiohttp.ClientSession, gateway: tuple[Gateway, str], members: Members) -> Client:
    """Give the other member's program."""
    return Client(session, gateway[1], members.partner.key)
