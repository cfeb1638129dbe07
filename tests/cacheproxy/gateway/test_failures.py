"""Bad input, and upstreams that fail: a clear answer in the protocol's shape, nothing cached, nothing billed."""

import asyncio
import json
import logging
from typing import Any

import aiohttp
import msgspec
import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, World, serving
from tests.fakes.upstream import Behaviour, FakeUpstream, answer, chat_answer, drop, raw_answer, stream

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[1]", "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b'{"model": "qwen-small"}', "missing_field", "messages"),
        (b'{"messages": []}', "missing_field", "model"),
        (b'{"model": 3, "messages": [{}]}', "invalid_field", "model"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(
    client: Client, upstream: FakeUpstream, world: World, body: bytes, code: str, param: str | None
) -> None:
    refused = await client.post(CHAT, body)

    assert (refused.status, refused.code) == (400, code)
    assert refused.document["error"]["param"] == param
    assert refused.headers["x-should-retry"] == "false"
    assert upstream.received == []
    assert await world.events() == []


async def test_a_body_over_the_limit_is_refused_with_and_without_its_length(
    gateway_settings: GatewaySettings, cast: Cast, session: aiohttp.ClientSession, world: World
) -> None:
    async def chunks() -> object:
        for _ in range(20):
            yield b" " * 100

    async with serving(msgspec.structs.replace(gateway_settings, max_body_bytes=1000)) as (_, url):
        client = Client(session, url, cast.acme.key)
        stated = await client.post(CHAT, b" " * 1001)
        assert (stated.status, stated.code) == (413, "request_too_large")
        headers = {"authorization": f"Bearer {client.key}"}
        async with session.post(url + CHAT, data=chunks(), headers=headers) as response:
            assert response.status == 413
        assert (await client.chat()).status == 200


async def test_unknown_paths_and_methods(client: Client, session: aiohttp.ClientSession) -> None:
    unknown = await client.post("/v1/nothing", {})
    assert (unknown.status, unknown.code) == (404, "unknown_path")
    async with session.get(client.url + CHAT) as response:
        assert response.status == 405
        assert response.headers["allow"] == "POST"
        assert json.loads(await response.read())["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_an_upstreams_own_error_is_passed_on_and_never_kept(
    client: Client, upstream: FakeUpstream, world: World, status: int
) -> None:
    document = {"error": {"message": "slow down", "type": "x", "param": None, "code": "y"}}
    upstream.then(answer(document, status=status, headers={"retry-after": "7"}))
    failed = await client.chat()

    assert failed.status == status
    assert failed.document == document
    assert failed.headers["retry-after"] == "7"
    assert failed.headers["cache-status"] == "zerorate; fwd=miss"
    assert await world.events() == []
    assert (await client.chat()).status == 200
    assert len(upstream.received) == 2


async def test_html_with_an_error_status_becomes_the_protocols_shape(
    client: Client, upstream: FakeUpstream
) -> None:
    upstream.then(raw_answer(b"<h1>Bad gateway</h1>", status=502, headers={"content-type": "text/html"}))
    failed = await client.chat()

    assert (failed.status, failed.code) == (502, "upstream_error")
    assert failed.headers["content-type"] == "application/json"
    assert b"<h1>" not in failed.body


async def test_an_upstream_that_refuses_our_key_does_not_tell_the_customer(
    client: Client, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.then(answer({"error": {"message": "Incorrect API key provided: sk-oper***"}}, status=401))
    failed = await client.chat()

    assert (failed.status, failed.code) == (502, "upstream_not_configured")
    assert b"sk-oper" not in failed.body
    assert "refuses the key" in caplog.text


async def test_a_missing_upstream_key_is_named_in_the_log_only(
    client: Client, world: World, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    await world.sql.execute("UPDATE cacheproxy_upstream SET api_key_env = 'NOT_SET_KEY'")
    await asyncio.sleep(0.2)
    failed = await client.chat()

    assert (failed.status, failed.code) == (502, "upstream_not_configured")
    assert failed.headers["x-should-retry"] == "false"
    assert b"NOT_SET_KEY" not in failed.body
    assert "NOT_SET_KEY" in caplog.text
    assert upstream.received == []


@pytest.mark.parametrize(
    "behaviour",
    [
        raw_answer(b"<html>hello</html>", headers={"content-type": "text/html"}),
        raw_answer(b'{"choices": [', headers={"content-type": "application/json"}),
        drop(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{}"),
        raw_answer(b"", status=302, headers={"location": "http://127.0.0.1:1/"}),
        stream(b"data: {}\n\n"),
        drop(b"HTTP/1.1 2x0 ???\r\n\r\n"),
    ],
)
async def test_a_broken_answer_is_a_502_and_costs_nothing(
    client: Client, upstream: FakeUpstream, world: World, behaviour: Behaviour
) -> None:
    upstream.then(behaviour)
    failed = await client.chat()

    assert (failed.status, failed.code) == (502, "upstream_broken")
    assert await world.events() == []
    assert (await client.chat()).status == 200


async def test_a_dropped_connection_is_a_502(client: Client, upstream: FakeUpstream, world: World) -> None:
    upstream.then(drop())
    failed = await client.chat()

    assert (failed.status, failed.code) == (502, "upstream_unreachable")
    assert await world.events() == []


async def test_an_unreachable_upstream_is_a_502(client: Client, world: World) -> None:
    await world.sql.execute("UPDATE cacheproxy_upstream SET url = 'http://127.0.0.1:9/v1'")
    await asyncio.sleep(0.2)
    failed = await client.chat()

    assert (failed.status, failed.code) == (502, "upstream_unreachable")
    assert "x-should-retry" not in failed.headers


async def test_an_upstream_that_takes_too_long_is_a_504(
    client: Client, world: World, upstream: FakeUpstream
) -> None:
    await world.sql.execute("UPDATE cacheproxy_upstream SET timeout_seconds = 1")
    await asyncio.sleep(0.2)
    upstream.then(answer(chat_answer(), delay_seconds=5))
    failed = await client.chat()

    assert (failed.status, failed.code) == (504, "upstream_timeout")
    assert await world.events() == []


async def test_an_answer_over_the_limit_is_cut_off(
    gateway_settings: GatewaySettings, cast: Cast, session: aiohttp.ClientSession, upstream: FakeUpstream
) -> None:
    async with serving(msgspec.structs.replace(gateway_settings, max_answer_bytes=1000)) as (_, url):
        upstream.then(answer(chat_answer("x" * 2000)))
        failed = await Client(session, url, cast.acme.key).chat()
    assert (failed.status, failed.code) == (502, "upstream_broken")


async def test_an_error_in_a_200_is_passed_on_uncounted(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(answer({"error": {"message": "no"}}))
    failed = await client.chat()

    assert failed.document == {"error": {"message": "no"}}
    assert await world.events() == []
    assert (await client.chat()).headers["cache-status"] == "zerorate; fwd=miss; stored"


async def test_usage_that_contradicts_itself_is_quarantined_and_not_kept(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 9},
        "note": "\x00",
    }
    upstream.then(answer(chat_answer(usage=usage)))
    suspect = await client.chat()

    assert suspect.status == 200
    assert suspect.headers["cache-status"] == "zerorate; fwd=miss"
    assert suspect.headers["x-zerorate-cost"] == "0 USD"
    (event,) = await world.events()
    assert event["quality"] == "suspect"
    assert (event["input"], event["cache_read"], event["output"]) == (0, 0, 0)
    assert json.loads(event["raw_usage"])["prompt_tokens_details"] == {"cached_tokens": 9}


async def test_an_answer_without_a_report_is_estimated(
    client: Client, upstream: FakeUpstream, world: World
) -> None:
    upstream.then(answer(chat_answer("twelve bytes", usage=None)))
    await client.chat()
    await client.chat()

    events = await world.events()
    assert [row["quality"] for row in events] == ["estimated", "estimated"]
    assert [row["output"] for row in events] == [3, 3]


async def test_an_unforeseen_failure_is_a_500_with_the_request_id_in_the_log(
    gateway: tuple[Gateway, str], cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that breaks its own rules stands for any bug: the gateway cannot have foreseen it."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise ZeroDivisionError("the bug")

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + cast.acme.key.encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    await gateway[0](scope, receive, send)

    head, body = sent
    assert head["status"] == 500
    assert b'"code":"internal_error"' in body["body"]
    assert b"ZeroDivision" not in body["body"]
    assert b"the bug" not in body["body"]
    assert dict(head["headers"])[b"x-request-id"].decode() in caplog.text
    assert "ZeroDivisionError: the bug" in caplog.text


async def test_more_upstream_calls_than_allowed_are_refused_at_once(
    gateway_settings: GatewaySettings, cast: Cast, session: aiohttp.ClientSession, upstream: FakeUpstream
) -> None:
    async with serving(msgspec.structs.replace(gateway_settings, max_upstream_calls=1)) as (_, url):
        client = Client(session, url, cast.acme.key)
        upstream.then(answer(chat_answer(), delay_seconds=0.3))
        slow = asyncio.create_task(client.chat("slow"))
        await asyncio.sleep(0.1)
        refused = await client.chat("other")
        assert (refused.status, refused.code) == (503, "gateway_overloaded")
        assert refused.headers["retry-after"] == "1"
        assert (await slow).status == 200


async def test_many_calls_of_every_kind_leave_nothing_behind(
    client: Client, gateway: tuple[Gateway, str], upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    for behaviour in (
        drop(),
        answer({}, status=500),
        raw_answer(b"<html>"),
        stream(b"data: x\n\n", whole=False),
    ):
        upstream.then(*[behaviour] * 5)
        await asyncio.gather(*[client.chat(f"broken {n}", stream=n % 2 == 0) for n in range(5)])
    for _ in range(5):
        await asyncio.gather(*[client.chat(f"good {n}") for n in range(20)])

    flight, recorder = gateway[0]._flight, gateway[0]._recorder
    assert not flight._under_way
    assert not recorder._waiting
    own = {"Feed._run", "Recorder._watch"}
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    assert not {name for name in names if name.startswith(("Misses", "Relay", "Flight", "Call"))}
    assert own <= names
    assert upstream.connections <= 20
