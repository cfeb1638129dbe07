"""A key that is bound to models or networks, and plans that bound bodies: noticed within a second, refused clearly."""

from datetime import UTC, datetime

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.admission import Caller, Door, caller_of
from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.catalog.catalog import Catalog
from cacheproxy.gateway.catalog.feed import Feed
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.limits.rules import PlanLimits
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.limits.party import SETTINGS, Party
from tests.cacheproxy.gateway.world import Answer, Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream


async def bind(world: World, cast: Cast, column: str, value: list[str]) -> None:
    await world.sql.execute(
        f"UPDATE tenants_apikey SET {column} = $1 WHERE id = $2", value, cast.acme.api_key_id
    )


async def until(client: Client, path: str, status: int) -> Answer:
    async def called() -> Answer | None:
        answer = await client.get(path)
        return answer if answer.status == status else None

    answer: Answer = await eventually(called, within_seconds=1)
    return answer


def listed(answer: Answer) -> list[str]:
    return [model["id"] for model in answer.document["data"]]


async def test_a_key_may_be_bound_to_models(
    client: Client, stranger: Client, world: World, cast: Cast, upstream: FakeUpstream
) -> None:
    assert (await client.chat()).status == 200
    await bind(world, cast, "allowed_models", ["embedder"])

    async def refused() -> Answer | None:
        answer = await client.chat()
        return answer if answer.status == 403 else None

    answer: Answer = await eventually(refused, within_seconds=1)
    assert answer.code == "model_not_allowed"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.document["error"]["param"] == "model"
    assert listed(await client.get("/v1/models")) == ["embedder"]
    assert (await client.post("/v1/embeddings", {"model": "embedder", "input": "x"})).status == 200
    assert (await stranger.chat()).status == 200
    assert {event["model"] for event in await world.events()} == {"qwen-small", "embedder"}
    events = len(await world.events())
    await client.chat()
    assert len(await world.events()) == events  # a refused call writes none


async def test_a_key_may_be_bound_to_networks(
    client: Client, stranger: Client, world: World, cast: Cast
) -> None:
    assert (await client.get("/v1/models")).status == 200
    await bind(world, cast, "allowed_networks", ["203.0.113.0/24", "2001:db8::/32"])
    answer = await until(client, "/v1/models", 403)
    assert answer.code == "network_not_allowed"
    assert (await stranger.get("/v1/models")).status == 200
    await bind(world, cast, "allowed_networks", ["127.0.0.0/8"])
    await until(client, "/v1/models", 200)


@pytest.mark.parametrize(("trusted", "status"), [((), 403), (("127.0.0.0/8",), 200)])
async def test_only_a_trusted_proxy_says_who_is_behind_it(
    gateway_settings: GatewaySettings,
    world: World,
    cast: Cast,
    session: aiohttp.ClientSession,
    trusted: tuple[str, ...],
    status: int,
) -> None:
    await bind(world, cast, "allowed_networks", ["203.0.113.0/24"])
    settings = msgspec.structs.replace(gateway_settings, trusted_proxies=trusted)
    headers = {"authorization": f"Bearer {cast.acme.key}", "x-forwarded-for": "203.0.113.9"}
    async with serving(settings) as (_, url), session.get(f"{url}/v1/models", headers=headers) as response:
        assert response.status == status


@pytest.mark.parametrize("network", ["10.0.0.0/33", "10.0.0.1/8", "somewhere", "::/129"])
async def test_the_database_takes_networks_only(world: World, cast: Cast, network: str) -> None:
    with pytest.raises(Exception, match=r"invalid (input syntax for type )?cidr"):
        await bind(world, cast, "allowed_networks", [network])


@pytest.mark.parametrize(("plan_bytes", "limit"), [(None, 1000), (10, 10), (5000, 1000)])
def test_the_smaller_bound_of_plan_and_gateway_holds(plan_bytes: int | None, limit: int) -> None:
    party = Party(plan=PlanLimits(max_body_bytes=plan_bytes))
    door = Door(party.catalog, Feed(SETTINGS, Catalog()), key_pepper="")

    assert door.body_limit(caller_of(party.access, 1, party.plan), 1000) == limit


async def test_limits_and_budgets_cross_the_seam(
    gateway: tuple[Gateway, str], world: World, cast: Cast, client: Client
) -> None:
    await world.sql.execute(
        "UPDATE billing_plan SET tokens_per_minute = 90, count_hits = true WHERE id = $1", cast.plan_id
    )
    await world.sql.execute(
        "UPDATE tenants_apikey SET requests_per_minute = 7 WHERE id = $1", cast.acme.api_key_id
    )
    for api_key_id, period, hard in (
        (None, "month", "12.5"),
        (cast.acme.api_key_id, "day", "0.000000000001"),
        (None, "day", None),
    ):
        await world.sql.execute(
            "INSERT INTO billing_budget (tenant_id, api_key_id, period, soft_amount, hard_amount, webhook_url,"
            " webhook_secret, email, created_at) VALUES ($1, $2, $3, 0, $4::text::numeric, '', '', '', now())",
            cast.acme.id, api_key_id, period, hard,
        )  # fmt: skip
    caller = await _caller(gateway[0], client)

    async def known() -> bool:
        nonlocal caller
        caller = await _caller(gateway[0], client)
        return len(caller.access.budgets) == 2

    await eventually(known, within_seconds=1)
    assert caller.access.limits.requests_per_minute == 7
    assert [(one.period, one.hard_nano) for one in caller.access.budgets] == [
        ("month", 12_500_000_000),
        ("day", 1),
    ]


async def _caller(gateway: Gateway, client: Client) -> Caller:
    return await gateway._door.let_in({b"x-api-key": client.key.encode()}, datetime.now(UTC))
