"""Traces, as a collector gets them over HTTP."""

import gzip
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cacheproxy.gateway.config import GatewaySettings
from tests.cacheproxy.gateway.conftest import Cast
from tests.cacheproxy.gateway.world import Client, serving
from tests.fakes.upstream import FakeUpstream, answer, drop

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
MARKER = "xyzzy-marker"


class Span(NamedTuple):
    """A span as it arrived."""

    name: str
    trace: str
    id: str
    parent: str
    facts: dict[str, Any]
    failed: bool
    nanoseconds: int


class Collector:
    """A real receiver of OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.raw = b""
        self.service = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("content-encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.service = _facts(resource.resource.attributes)["service.name"]
            self.spans += [_span(span) for scope in resource.scope_spans for span in scope.spans]
        return web.Response()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


def _facts(attributes: Any) -> dict[str, Any]:
    return {fact.key: getattr(fact.value, fact.value.WhichOneof("value")) for fact in attributes}


def _span(span: Any) -> Span:
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _facts(span.attributes),
        span.status.code == span.status.STATUS_CODE_ERROR,
        span.end_time_unix_nano - span.start_time_unix_nano,
    )


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Give a collector that the environment names."""
    collector = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", collector.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield collector
    await runner.cleanup()


@pytest.fixture
def traced(gateway_settings: GatewaySettings) -> GatewaySettings:
    """Give settings with traces."""
    return msgspec.structs.replace(gateway_settings, traces=True)


async def test_a_call_leaves_one_span_with_its_steps(
    traced: GatewaySettings, cast: Cast, collector: Collector, upstream: FakeUpstream
) -> None:
    async with serving(traced) as (_, url), aiohttp.ClientSession() as session:
        client = Client(session, url, cast.acme.key)
        miss = await client.chat(MARKER, CALLERS)
        hit = await client.chat(MARKER)
        assert (await client.chat(model="unheard-of")).status == 404
    first, second, *_ = collector.named("chat qwen-small")
    assert (first.trace, first.parent) == (TRACE, PARENT)
    assert (second.trace == TRACE, second.parent) == (False, "")
    assert first.facts == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "qwen-small",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.path": "/v1/chat/completions",
        "zerorate.outcome": "miss",
        "zerorate.request_id": miss.headers["x-request-id"],
        "zerorate.tenant": "acme",
    }
    assert second.facts["zerorate.outcome"] == "exact"
    assert second.facts["zerorate.request_id"] == hit.headers["x-request-id"]
    steps = [span for span in collector.spans if span.parent == first.id]
    assert [span.name for span in steps] == ["look-up", "POST qwen-small-server", "commit"]
    assert [span.name for span in collector.spans if span.parent == second.id] == ["commit"]
    assert sum(span.nanoseconds for span in steps) <= first.nanoseconds
    [refused] = collector.named("chat")
    assert (refused.facts["zerorate.outcome"], refused.facts["http.response.status_code"]) == ("refused", 404)
    assert not any(span.failed for span in collector.spans)
    assert collector.service == "zerorate"
    assert MARKER.encode() not in collector.raw
    assert cast.acme.key.encode() not in collector.raw


async def test_the_upstream_is_told(
    traced: GatewaySettings, cast: Cast, collector: Collector, upstream: FakeUpstream
) -> None:
    async with serving(traced) as (_, url), aiohttp.ClientSession() as session:
        await Client(session, url, cast.acme.key).chat(headers=CALLERS)
    [asked] = collector.named("POST qwen-small-server")
    assert upstream.received[0].headers["traceparent"] == f"00-{TRACE}-{asked.id}-01"
    assert upstream.received[0].headers["tracestate"] == "vendor=1"
    assert asked.facts["gen_ai.provider.name"] == "openai"
    assert asked.facts["zerorate.upstream"] == "qwen-small-server"


@pytest.mark.parametrize(("behaviour", "status"), [(answer({}, status=500), 500), (drop(), 502)])
async def test_a_failure_is_marked(
    traced: GatewaySettings,
    cast: Cast,
    collector: Collector,
    upstream: FakeUpstream,
    behaviour: Any,
    status: int,
) -> None:
    upstream.then(behaviour)
    async with serving(traced) as (_, url), aiohttp.ClientSession() as session:
        given = await Client(session, url, cast.acme.key).chat()
    assert given.status == status
    [call] = collector.named("chat qwen-small")
    [asked] = collector.named("POST qwen-small-server")
    assert call.failed
    assert asked.failed
    assert call.facts["error.type"] == str(status)


async def test_a_malformed_parent_is_no_parent(
    traced: GatewaySettings, cast: Cast, collector: Collector
) -> None:
    async with serving(traced) as (_, url), aiohttp.ClientSession() as session:
        for parent in ("00-xyz", "ÿ" * 300, f"00-{'0' * 32}-{PARENT}-01", ""):
            assert (
                await Client(session, url, cast.acme.key).chat(headers={"traceparent": parent})
            ).status == 200
    assert {span.parent for span in collector.named("chat qwen-small")} == {""}


async def test_without_a_collector_calls_go_on(
    traced: GatewaySettings, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    async with serving(traced) as (_, url), aiohttp.ClientSession() as session:
        assert (await Client(session, url, cast.acme.key).chat()).status == 200


async def test_off_there_is_no_trace(client: Client, upstream: FakeUpstream) -> None:
    await client.chat(headers=CALLERS)
    assert "traceparent" not in upstream.received[0].headers
