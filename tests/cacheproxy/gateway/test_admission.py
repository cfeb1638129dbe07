"""Who is let in, and what the others are told."""

import asyncio

import aiohttp
import pytest

from cacheproxy.gateway.asgi import Gateway
from tenants import keys
from tests.cacheproxy.gateway.conftest import Cast, Wires
from tests.cacheproxy.gateway.world import Answer, Client, World, eventually, serving
from tests.fakes.upstream import FakeUpstream

NOTICED_SECONDS = 1.0


async def until(client: Client, status: int) -> Answer:
    """Call until the answer has *status*, for as long as a change may take to be noticed."""

    async def called() -> Answer | None:
        answer = await client.chat()
        return answer if answer.status == status else None

    answer: Answer = await eventually(called, within_seconds=NOTICED_SECONDS)
    return answer


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"authorization": ""}, "missing_api_key"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "missing_api_key"),
        ({"authorization": "Bearer sk-something-else"}, "malformed_api_key"),
        ({"authorization": "Bearer " + keys.generate().text[:-1] + "~"}, "malformed_api_key"),
        ({"authorization": "Bearer " + "é" * 58}, "malformed_api_key"),
        ({"authorization": "Bearer " + keys.generate().text}, "invalid_api_key"),
    ],
)
async def test_an_unknown_caller_is_refused_in_the_protocols_shape(
    client: Client, upstream: FakeUpstream, world: World, headers: dict[str, str], code: str
) -> None:
    answer = await client.chat(headers=headers)

    assert (answer.status, answer.code) == (401, code)
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]
    assert answer.document["error"]["type"] == "authentication_error"
    assert upstream.received == []
    assert await world.events() == []


async def test_the_key_may_come_as_anthropics_clients_send_it(client: Client) -> None:
    headers = {"authorization": "", "x-api-key": client.key}

    assert (await client.chat(headers=headers)).status == 200


async def test_a_malformed_key_is_refused_without_asking_the_database(
    wires: Wires, session: aiohttp.ClientSession, cast: Cast
) -> None:
    mistyped = cast.acme.key[:20] + ("a" if cast.acme.key[20] != "a" else "b") + cast.acme.key[21:]
    async with serving(wires.gateway_settings) as (_, url):
        assert (await Client(session, url, cast.acme.key).chat()).status == 200
        wires.postgres.cut()
        refused = await Client(session, url, mistyped).chat()
        unknown = await Client(session, url, keys.generate().text).chat()
        wires.postgres.mend()
    assert (refused.status, refused.code) == (401, "malformed_api_key")
    assert unknown.status == 503  # this one could only be refused by asking


async def test_an_unknown_key_is_refused(client: Client) -> None:
    refused = await client.chat(headers={"authorization": f"Bearer {keys.generate().text}"})
    assert (refused.status, refused.code) == (401, "invalid_api_key")


async def test_a_revoked_key_stops_within_a_second(client: Client, world: World, cast: Cast) -> None:
    assert (await client.chat()).status == 200
    await world.sql.execute(
        "UPDATE tenants_apikey SET revoked_at = now() WHERE id = $1", cast.acme.api_key_id
    )

    assert (await until(client, 401)).code == "revoked_api_key"


async def test_a_revocation_set_for_later_takes_effect_by_the_clock(
    client: Client, world: World, cast: Cast
) -> None:
    await world.sql.execute(
        "UPDATE tenants_apikey SET revoked_at = now() + interval '0.5 s' WHERE id = $1", cast.acme.api_key_id
    )
    await asyncio.sleep(0.2)
    assert (await client.chat()).status == 200
    assert (await until(client, 401)).code == "revoked_api_key"


async def test_a_new_key_works_at_once(client: Client, world: World, cast: Cast) -> None:
    _, key = await world.add_key(cast.acme.id)

    assert (await client.chat(headers={"authorization": f"Bearer {key}"})).status == 200


async def test_an_expired_key_is_refused(client: Client, world: World, cast: Cast) -> None:
    await world.sql.execute(
        "UPDATE tenants_apikey SET expires_at = now() WHERE id = $1", cast.acme.api_key_id
    )

    assert (await until(client, 401)).code == "expired_api_key"


async def test_a_key_without_the_scope_is_refused(client: Client, world: World, cast: Cast) -> None:
    _, key = await world.add_key(cast.acme.id, ["usage:read"])

    answer = await client.chat(headers={"authorization": f"Bearer {key}"})
    assert (answer.status, answer.code) == (403, "insufficient_scope")


async def test_a_suspended_tenant_is_refused_and_the_other_is_not(
    client: Client, stranger: Client, world: World, cast: Cast
) -> None:
    await world.sql.execute("UPDATE tenants_tenant SET status = 'suspended' WHERE id = $1", cast.acme.id)

    assert (await until(client, 403)).code == "tenant_suspended"
    assert (await stranger.chat()).status == 200


async def test_without_a_plan_nothing_is_served(
    session: aiohttp.ClientSession, gateway: tuple[Gateway, str], world: World
) -> None:
    planless = await world.add_tenant("planless", None)
    client = Client(session, gateway[1], planless.key)

    answer = await client.chat()
    assert (answer.status, answer.code) == (403, "no_plan")


async def test_a_subscription_begins_and_ends_by_the_clock(
    session: aiohttp.ClientSession, gateway: tuple[Gateway, str], world: World, cast: Cast
) -> None:
    brief = await world.add_tenant("brief", None)
    client = Client(session, gateway[1], brief.key)
    await world.sql.execute(
        "INSERT INTO billing_subscription (tenant_id, plan_id, starts_at, ends_at)"
        " VALUES ($1, $2, now() + interval '0.3 s', now() + interval '0.9 s')",
        brief.id,
        cast.plan_id,
    )
    await asyncio.sleep(0.1)
    assert (await client.chat()).code == "no_plan"
    assert (await until(client, 200)).status == 200
    assert (await until(client, 403)).code == "no_plan"


async def test_an_unknown_model_and_one_outside_the_plan_are_told_apart(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    await world.add_model("unpriced", f"{upstream.url}/v1")
    await asyncio.sleep(0.2)

    unknown = await client.chat(model="gpt-9")
    assert (unknown.status, unknown.code) == (404, "model_not_found")
    assert unknown.document["error"]["param"] == "model"
    unpriced = await client.chat(model="unpriced")
    assert (unpriced.status, unpriced.code) == (403, "model_not_in_plan")
    other_protocol = await client.chat(model="ocr")
    assert other_protocol.code == "model_not_found"
    assert upstream.received == []


async def test_the_list_of_models_is_that_of_the_plan(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    await world.add_model("unpriced", f"{upstream.url}/v1")
    await asyncio.sleep(0.2)

    answer = await client.get("/v1/models")
    assert answer.status == 200
    assert answer.document["object"] == "list"
    assert [model["id"] for model in answer.document["data"]] == ["embedder", "ocr", "qwen-small"]


async def test_a_price_takes_effect_by_the_clock(client: Client, world: World, cast: Cast) -> None:
    await world.sql.execute(
        "INSERT INTO billing_price (plan_id, model, pool, amount, per, effective_from, created_at)"
        " VALUES ($1, 'qwen-small', 'output', 3, 1000000, now() + interval '0.4 s', now())",
        cast.plan_id,
    )
    await asyncio.sleep(0.1)
    before = await client.chat("first")
    await asyncio.sleep(0.4)
    after = await client.chat("second")

    assert before.headers["x-zerorate-list-cost"] == "0.0000135 USD"
    assert after.headers["x-zerorate-list-cost"] == "0.000021 USD"
