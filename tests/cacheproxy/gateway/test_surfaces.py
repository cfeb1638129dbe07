"""Anthropic's and Triton's own clients through the gateway, to servers that speak their protocols."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import anthropic
import numpy as np
import pytest
import tritonclient.http.aio as triton
from aiohttp import web
from tritonclient.utils import InferenceServerException

from cacheproxy.gateway.config import GatewaySettings
from examples.upstreams import oip_models
from examples.upstreams.oip_server import Server
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.anthropic import FakeAnthropic, broken_stream, failure, reply
from tests.fakes.upstream import FakeUpstream, raw_answer

PRICES = {
    "claude": {"input": "3", "output": "15"},
    "iris": {"units": "1000"},
    "echo": {"units": "1000"},
    "painter": {"units": "1000"},
}
HELLO: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "How do you do?"}],
}
TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


class Stage(NamedTuple):
    """A gateway in front of one server for each protocol, and acme's key."""

    url: str
    key: str
    claude: FakeAnthropic
    painter: FakeUpstream


@pytest.fixture
async def claude() -> AsyncIterator[FakeAnthropic]:
    server = FakeAnthropic(key="sk-1")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def triton_url() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        oip_models.build(Path(folder))
        runner = web.AppRunner(Server(Path(folder)).application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def stage(
    world: World,
    claude: FakeAnthropic,
    triton_url: str,
    upstream: FakeUpstream,
    gateway_settings: GatewaySettings,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("CLAUDE_KEY", "sk-1")
    await world.add_model("claude", claude.url, protocol="anthropic", api_key_env="CLAUDE_KEY")
    for name in ("iris", "echo"):
        await world.add_model(name, triton_url, protocol="oip")
        await world.sql.execute(
            "UPDATE cacheproxy_target SET upstream_model = $1 FROM cacheproxy_servedmodel m"
            " WHERE m.id = model_id AND m.name = $1",
            name,
        )
    await world.add_model("painter", upstream.url, protocol="predict", metering={"units": {"per_call": 1}})
    acme = await world.add_tenant("acme", await world.add_plan("standard", PRICES, {"exact": "80"}))
    async with serving(gateway_settings) as (_, url):
        yield Stage(url, acme.key, claude, upstream)


@pytest.fixture
async def speaker(stage: Stage) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key=stage.key, base_url=stage.url, max_retries=0) as client:
        yield client


@pytest.fixture
async def asker(stage: Stage) -> AsyncIterator[triton.InferenceServerClient]:
    async with triton.InferenceServerClient(stage.url.removeprefix("http://")) as client:
        yield client


async def streamed(speaker: anthropic.AsyncAnthropic, **fields: Any) -> Any:
    async with speaker.messages.stream(**HELLO, **fields) as stream:
        return (await stream.get_final_message()).to_dict()


async def plain(speaker: anthropic.AsyncAnthropic, **fields: Any) -> Any:
    return (await speaker.messages.create(**HELLO, **fields)).to_dict()


class TestAnthropic:
    @pytest.mark.parametrize(("first", "then"), [(plain, streamed), (streamed, plain), (streamed, streamed)])
    async def test_one_message_is_given_in_either_form(
        self, stage: Stage, world: World, speaker: Any, first: Any, then: Any
    ) -> None:
        for fields in ({}, {"tools": TOOLS}, THINKING):
            told = reply({**HELLO, "model": "small", **fields})
            for message in (await first(speaker, **fields), await then(speaker, **fields)):
                assert [_said(block) for block in message["content"]] == told["content"]
                assert message["usage"]["output_tokens"] == told["usage"]["output_tokens"]
            miss, hit = (await world.events())[-2:]
            assert (miss["outcome"], hit["outcome"]) == ("miss", "exact")
            assert miss["input"] == hit["input"] == told["usage"]["input_tokens"]
            assert miss["output"] == hit["output"] == told["usage"]["output_tokens"]
        assert len(stage.claude.received) == 3

    async def test_versions_and_betas_go_along_and_keep_answers_apart(
        self, stage: Stage, speaker: Any
    ) -> None:
        for betas in ("a,b", "b,a", "c"):
            await plain(speaker, extra_headers={"anthropic-beta": betas})
        sent = [call.headers["anthropic-beta"] for call in stage.claude.received]
        assert sent == ["a,b", "c"]
        assert stage.claude.received[0].headers["x-api-key"] == "sk-1"

    async def test_counting_tokens_costs_nothing(self, stage: Stage, world: World, speaker: Any) -> None:
        counts = [
            await speaker.messages.count_tokens(model="claude", messages=HELLO["messages"]) for _ in "ab"
        ]
        assert counts[0].input_tokens == counts[1].input_tokens > 0
        assert len(stage.claude.received) == 1
        for event in await world.events():
            assert (event["input"], event["output"], event["units"], event["quality"]) == (
                0,
                0,
                0,
                "reported",
            )

    async def test_errors_reach_the_client_in_its_own_shape(self, stage: Stage, speaker: Any) -> None:
        with pytest.raises(anthropic.NotFoundError) as missing:
            await speaker.messages.create(**{**HELLO, "model": "nothing"})
        assert (missing.value.type, missing.value.error_code) == ("not_found_error", "model_not_found")
        stage.claude.then(failure(400, "invalid_request_error", "max_tokens: too large"))
        with pytest.raises(anthropic.BadRequestError, match="too large"):
            await plain(speaker)
        assert (await plain(speaker))["content"]

    async def test_a_stream_that_fails_is_no_answer(self, stage: Stage, world: World, speaker: Any) -> None:
        stage.claude.then(broken_stream(reply(HELLO), after=5))
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            await streamed(speaker)
        assert (await plain(speaker))["content"][0]["text"] == "HOW DO YOU DO?"
        begun, whole = await world.events()
        assert (begun["quality"], whole["quality"]) == ("estimated", "reported")
        assert begun["input"] == reply(HELLO)["usage"]["input_tokens"]


def _said(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block without what the client adds to it."""
    return {field: value for field, value in block.items() if value is not None}


def flowers(*, binary: bool = True) -> Any:
    array = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], dtype=np.float32)
    tensor = triton.InferInput("features", [2, 4], "FP32")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


class TestTriton:
    @pytest.mark.parametrize("binary", [True, False])
    async def test_a_hit_has_the_callers_own_id(
        self, stage: Stage, world: World, asker: Any, binary: bool
    ) -> None:
        outputs = [triton.InferRequestedOutput("label", binary_data=binary)]
        headers = {"authorization": f"Bearer {stage.key}"}
        for request_id in ("first", "second-and-longer", ""):
            result = await asker.infer(
                "iris", [flowers(binary=binary)], outputs=outputs, request_id=request_id, headers=headers
            )
            assert result.as_numpy("label").tolist() == [0, 2]
            assert result.get_response().get("id", "") == request_id
        assert [(event["outcome"], event["units"]) for event in await world.events()] == [
            ("miss", 1),
            ("exact", 1),
            ("exact", 1),
        ]

    async def test_versions_are_kept_apart(self, stage: Stage, asker: Any) -> None:
        headers = {"authorization": f"Bearer {stage.key}"}
        versions = [
            await asker.infer("iris", [flowers()], model_version=version, headers=dict(headers))
            for version in ("1", "2", "1")
        ]
        assert [result.get_response()["model_version"] for result in versions] == ["1", "2", "1"]

    async def test_texts(self, stage: Stage, asker: Any) -> None:
        headers = {"authorization": f"Bearer {stage.key}"}
        texts = triton.InferInput("text", [2], "BYTES")
        texts.set_data_from_numpy(np.array(["é".encode(), b""], dtype=np.object_))
        for _ in "ab":
            result = await asker.infer("echo", [texts], headers=dict(headers))
            assert result.as_numpy("echo").tolist() == ["é".encode(), b""]

    async def test_errors_are_read_by_the_client(self, stage: Stage, asker: Any) -> None:
        with pytest.raises(InferenceServerException, match="No API key was sent"):
            await asker.infer("iris", [flowers()])
        headers = {"authorization": f"Bearer {stage.key}"}
        with pytest.raises(InferenceServerException, match="does not exist here"):
            await asker.infer("nothing", [flowers()], headers=dict(headers))
        with pytest.raises(InferenceServerException, match="unknown model 'iris', version '9'"):
            await asker.infer("iris", [flowers()], model_version="9", headers=dict(headers))


async def test_an_image_in_and_an_image_out(stage: Stage) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    stage.painter.then(raw_answer(png[::-1], headers={"content-type": "image/png"}))
    async with aiohttp.ClientSession() as session:
        client = Client(session, stage.url, stage.key)
        answers = [
            await client.post("/v1/predict/painter", png, headers={"content-type": "image/png"}) for _ in "ab"
        ]
    assert [(answer.body, answer.headers["content-type"]) for answer in answers] == [
        (png[::-1], "image/png")
    ] * 2
    assert "; hit;" in answers[1].headers["cache-status"]
    (received,) = stage.painter.received
    assert (received.body, received.headers["content-type"]) == (png, "image/png")


@pytest.mark.parametrize("name", ["a.png", "b.png"])
async def test_a_form_goes_upstream_as_one(stage: Stage, name: str) -> None:
    stage.painter.then(raw_answer(b'{"text":"x"}', headers={"content-type": "application/json"}))
    async with aiohttp.ClientSession() as session:
        for filename in (name, "another.png"):
            form = aiohttp.FormData({"lang": "en"})
            form.add_field("image", b"\x89PNG", filename=filename, content_type="image/png")
            headers = {"authorization": f"Bearer {stage.key}"}
            async with session.post(f"{stage.url}/v1/predict/painter", data=form, headers=headers) as answer:
                assert await answer.json() == {"text": "x"}
    assert len(stage.painter.received) == 1
