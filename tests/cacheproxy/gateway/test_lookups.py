"""Questions asked with GET: models, and how model servers are."""

import aiohttp
import pytest

from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, World, eventually
from tests.fakes.upstream import FakeUpstream, answer


async def test_a_model_is_told_by_its_name(client: Client) -> None:
    assert (await client.get("/v1/models/qwen-small")).document["id"] == "qwen-small"
    unknown = await client.get("/v1/models/nobody")
    assert (unknown.status, unknown.code) == (404, "model_not_found")


async def test_anthropics_clients_get_anthropics_shape(client: Client, cast: Cast) -> None:
    headers = {"x-api-key": cast.acme.key, "anthropic-version": "2023-06-01"}
    async with client.session.get(f"{client.url}/v1/models", headers=headers) as response:
        listed = await response.json()
    assert {"type": "model", "id": "qwen-small"}.items() <= listed["data"][-1].items()
    assert listed["has_more"] is False
    async with client.session.get(f"{client.url}/v1/models/nobody", headers=headers) as response:
        refused = await response.json()
    assert (response.status, refused["type"], refused["error"]["type"]) == (404, "error", "not_found_error")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2", {"name": "zerorate", "version": "1", "extensions": ["binary_tensor_data"]}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
    ],
)
async def test_the_server_tells_of_itself_without_a_key(
    client: Client, session: aiohttp.ClientSession, path: str, told: object
) -> None:
    async with session.get(client.url + path) as response:
        assert response.status == 200
        assert await response.json() == told


async def test_a_models_server_is_asked_for_its_metadata(
    client: Client, stranger: Client, upstream: FakeUpstream, world: World, cast: Cast
) -> None:
    await world.add_model("tensors", upstream.url, protocol="oip")
    await world.sql.execute(
        "INSERT INTO billing_price (plan_id, model, pool, amount, per, effective_from, created_at)"
        " VALUES ($1, 'tensors', 'units', 1, 1, now() - interval '1 day', now())",
        cast.plan_id,
    )

    async def known() -> bool:
        return (await client.get("/v2/models/tensors")).status == 200

    upstream.then(*[answer({"name": "tensors", "platform": "onnx"})] * 3)
    await eventually(known)
    told = await client.get("/v2/models/tensors/versions/3")
    assert told.document["platform"] == "onnx"
    assert upstream.received[-1].path == "/v2/models/small/versions/3"
    async with client.session.get(f"{client.url}/v2/models/tensors") as response:
        assert response.status == 401
        assert isinstance((await response.json())["error"], str)
    assert await world.events() == []


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v2/nothing", str), ("/v2/models/nobody/ready", str), ("/v1/nothing", dict)],
)
async def test_errors_have_the_shape_of_the_paths_protocol(client: Client, path: str, shape: type) -> None:
    refused = await client.get(path)
    assert refused.status == 404
    assert isinstance(refused.document["error"], shape)
