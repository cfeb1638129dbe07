"""One call to one server: every way in which it can fail, its time limits, and what is left of the connection."""

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cacheproxy.gateway.upstreams.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamLost,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.protocols.request import UpstreamCall
from tests.cacheproxy.gateway.upstreams.conftest import ask, compose, make_model, make_target
from tests.fakes.upstream import (
    Behaviour,
    FakeUpstream,
    answer,
    chat_answer,
    chat_events,
    drop,
    endless,
    html,
    raw_answer,
    raw_head,
    reset,
    stall,
    stream,
    trickle,
)

Make = Callable[[], Awaitable[FakeUpstream]]
BODY = json.dumps(chat_answer()).encode()
HEAD = raw_head(content_type="application/json", content_length=str(len(BODY)))
SHORT = raw_head(content_type="application/json", content_length=str(len(BODY) + 10))
CHUNKED = raw_head(content_type="text/event-stream", transfer_encoding="chunked")


async def test_connections_are_used_again_after_whole_answers(
    upstreams: Upstreams, make_server: Make
) -> None:
    server = await make_server()
    server.then(answer(chat_answer()), stream(*chat_events()), answer({}, status=500), html(502))
    for _ in range(5):
        await ask(upstreams, make_model(make_target(server.url)))
    assert len(server.received) == 5
    assert server.accepted == 1


async def test_a_compressed_answer_is_read(upstreams: Upstreams, make_server: Make) -> None:
    server = await make_server()
    server.then(raw_answer(gzip.compress(BODY), headers={"content-encoding": "gzip"}))
    assert (await ask(upstreams, make_model(make_target(server.url)))).body == BODY


@pytest.mark.parametrize(
    "early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"]
)
async def test_what_comes_before_the_answer_is_passed_over(
    upstreams: Upstreams, make_server: Make, early: bytes
) -> None:
    server = await make_server()
    server.then(trickle(early + HEAD + BODY, pause_seconds=0, size=4096))
    got = await ask(upstreams, make_model(make_target(server.url)))
    assert (got.status, got.body) == (200, BODY)


async def test_a_large_body_goes_out_whole(upstreams: Upstreams, make_server: Make) -> None:
    server, body = await make_server(), b"x" * 3_000_000
    model = make_model(make_target(server.url))
    server.then(answer({}))
    async with upstreams.exchange(model, lambda _: UpstreamCall("/predict", body), None) as exchange:
        await exchange.read()
    assert server.received[0].body == body
    assert server.received[0].headers["content-length"] == "3000000"


async def test_the_dialects_headers_go_over_the_defaults_and_the_operators_key_over_all(
    upstreams: Upstreams, make_server: Make
) -> None:
    server = await make_server()
    stated = ((b"content-type", b"application/octet-stream"), (b"authorization", b"Bearer theirs"))
    model = make_model(make_target(server.url, api_key_env="KEY", secret="sk-ours"))
    server.then(answer({}))
    async with upstreams.exchange(model, lambda _: UpstreamCall("/p", b"1", stated), "agent/2") as exchange:
        await exchange.read()
    headers = server.received[0].headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["authorization"] == "Bearer sk-ours"
    assert headers["user-agent"] == "agent/2"
    assert headers["accept-encoding"] == "identity"


async def test_anthropic_takes_its_key_and_version_in_headers_of_its_own(
    upstreams: Upstreams, make_server: Make
) -> None:
    server = await make_server()
    target = make_target(server.url, protocol="anthropic", api_key_env="KEY", secret="sk-ours")
    own = ((b"anthropic-version", b"2024-01-01"), (b"anthropic-beta", b"x"))
    server.then(answer({}), answer({}))
    await ask(upstreams, make_model(target))
    async with upstreams.exchange(make_model(target), lambda _: UpstreamCall("/p", b"1", own), None) as one:
        await one.read()
    usual, stated = (call.headers for call in server.received)
    assert (usual["x-api-key"], usual["anthropic-version"]) == ("sk-ours", "2023-06-01")
    assert "authorization" not in usual
    assert (stated["anthropic-version"], stated["anthropic-beta"]) == ("2024-01-01", "x")
    assert stated["user-agent"] == "zerorate"


UNREADABLE = [
    (drop(b"SSH-2.0-OpenSSH_9.9\r\n"), UpstreamBroken),
    (drop(b"HTTP/1.1 2x0 ???\r\n\r\n"), UpstreamBroken),
    (drop(b"HTTP/1.1 200 OK\r\ncontent-length: some\r\n\r\n"), UpstreamBroken),
    (raw_answer(b"{}", headers={"x-long": "x" * 100_000}), UpstreamBroken),
    (raw_answer(b"{}", headers={f"x-{n}": "y" for n in range(1000)}), UpstreamBroken),
    (drop(), UpstreamLost),
    (reset(), UpstreamLost),
    (drop(b"HTTP/1.1 200 OK\r\ncontent-ty"), UpstreamLost),
    (reset(b"HTTP/1.1 200 OK\r\n"), UpstreamLost),
    (drop(SHORT + BODY), UpstreamBroken),
    (reset(HEAD), UpstreamBroken),
    (drop(HEAD + BODY[:10]), UpstreamBroken),
    (drop(CHUNKED + b"5\r\ndata:"), UpstreamBroken),
    (drop(CHUNKED + b"5\r\ndata:\r\nzz\r\n"), UpstreamBroken),
    (stream(b"data: x\n\n", whole=False), UpstreamBroken),
    (raw_answer(b"no gzip", headers={"content-encoding": "gzip"}), UpstreamBroken),
    (endless(b"x" * 10_000), UpstreamBroken),
]


@pytest.mark.parametrize(("behaviour", "failure"), UNREADABLE)
async def test_a_failure_is_told_as_what_it_is_and_the_connection_is_not_used_again(
    upstreams: Upstreams, make_server: Make, behaviour: Behaviour, failure: type[UpstreamError]
) -> None:
    server = await make_server()
    model = make_model(make_target(server.url))
    server.then(behaviour)
    with pytest.raises(failure):
        await ask(upstreams, model)
    assert len(server.received) == 1
    assert (await ask(upstreams, model)).body == BODY
    assert server.accepted == 2


@pytest.mark.parametrize(
    "behaviour",
    [
        raw_answer(b"", status=302, headers={"location": "http://127.0.0.1:1/"}),
        raw_answer(b"x" * 100_001),
    ],
)
async def test_a_redirect_is_not_followed_and_an_answer_over_the_limit_not_taken(
    upstreams: Upstreams, make_server: Make, behaviour: Behaviour
) -> None:
    server = await make_server()
    model = make_model(make_target(server.url))
    server.then(behaviour)
    with pytest.raises(UpstreamBroken):
        await ask(upstreams, model)
    assert (await ask(upstreams, model)).body == BODY


async def test_bytes_beyond_the_stated_length_reach_nobody(upstreams: Upstreams, make_server: Make) -> None:
    server = await make_server()
    model = make_model(make_target(server.url))
    for surplus in (b'{"another": "customer"}', HEAD + b'{"another": "customer"}'):
        server.then(trickle(HEAD + BODY + surplus, pause_seconds=0, size=1 << 20))
        assert (await ask(upstreams, model)).body == BODY
        server.then(trickle(HEAD + BODY, pause_seconds=0, size=1 << 20))
        assert (await ask(upstreams, model)).body == BODY


async def test_no_connection_is_told_as_unreachable(upstreams: Upstreams, refusing_url: str) -> None:
    with pytest.raises(UpstreamUnreachable, match="cannot be reached"):
        await ask(upstreams, make_model(make_target(refusing_url)))


async def test_a_name_that_nobody_has_is_unreachable(upstreams: Upstreams) -> None:
    with pytest.raises(UpstreamUnreachable, match="cannot be reached"):
        await ask(upstreams, make_model(make_target("http://nobody.invalid")))


@pytest.mark.parametrize(
    ("behaviour", "limits", "message"),
    [
        (stall(), {"first_byte_timeout_seconds": 0.2}, "did not begin to answer within 0.2 seconds"),
        (stall(), {"timeout_seconds": 0.2}, "did not answer within 0.2 seconds"),
        (stall(HEAD), {"idle_timeout_seconds": 0.2}, "stopped in the middle of its answer for 0.2 seconds"),
        (stall(HEAD + BODY[:5]), {"idle_timeout_seconds": 0.2}, "stopped in the middle"),
        (stall(SHORT + BODY), {"idle_timeout_seconds": 0.2}, "stopped in the middle"),
        (stall(CHUNKED + b"5\r\ndata:\r\n"), {"idle_timeout_seconds": 0.2}, "stopped in the middle"),
        (trickle(HEAD, pause_seconds=0.05), {"timeout_seconds": 0.3}, "did not answer within 0.3 seconds"),
        (endless(b"x", pause_seconds=0.05), {"timeout_seconds": 0.3}, "did not answer within 0.3 seconds"),
    ],
)
async def test_each_time_limit_has_words_of_its_own(
    upstreams: Upstreams, make_server: Make, behaviour: Behaviour, limits: dict[str, Any], message: str
) -> None:
    server = await make_server()
    server.then(behaviour)
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout, match=message) as failure:
        await ask(upstreams, make_model(make_target(server.url, **limits)))
    assert 0.15 < time.monotonic() - started < 2
    assert (failure.value.status, failure.value.code) == (504, "upstream_timeout")
    await _until_idle(server)


async def test_a_server_that_accepts_nobody_is_unreachable_in_time(
    upstreams: Upstreams, deaf_url: str
) -> None:
    started = time.monotonic()
    with pytest.raises(UpstreamUnreachable, match=r"did not accept a connection within 0\.1 seconds"):
        await ask(
            upstreams, make_model(make_target(deaf_url, connect_timeout_seconds=0.1, timeout_seconds=3))
        )
    assert time.monotonic() - started < 2


async def test_the_limit_between_parts_takes_over_from_the_first_bytes(
    upstreams: Upstreams, make_server: Make
) -> None:
    server = await make_server()
    server.then(stream(*chat_events(), pause_seconds=0.15))
    limits = {"first_byte_timeout_seconds": 0.1, "idle_timeout_seconds": 2.0}
    assert (await ask(upstreams, make_model(make_target(server.url, **limits)))).ok


async def test_a_slow_reader_is_not_the_upstreams_silence(upstreams: Upstreams, make_server: Make) -> None:
    server = await make_server()
    server.then(raw_answer(b"x" * 90_000), answer({}))
    model = make_model(make_target(server.url, idle_timeout_seconds=0.2))
    async with upstreams.exchange(model, compose, None) as exchange:
        await asyncio.sleep(0.4)
        assert len((await exchange.read()).body) == 90_000


@pytest.mark.parametrize("behaviour", [stall(), stall(HEAD), endless(b"x", pause_seconds=0.01)])
async def test_a_call_given_up_closes_its_connection(
    upstreams: Upstreams, make_server: Make, behaviour: Behaviour
) -> None:
    server = await make_server()
    server.then(behaviour)
    call = asyncio.create_task(ask(upstreams, make_model(make_target(server.url))))
    while not server.received:  # noqa: ASYNC110 - the fake has no event for it
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await _until_idle(server)


async def _until_idle(server: FakeUpstream) -> None:
    async with asyncio.timeout(2):
        while server.connections:  # noqa: ASYNC110 - the fake has no event for it
            await asyncio.sleep(0.01)
