"""What the gateway counts, and how Prometheus is told."""

import asyncio
import timeit
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.telemetry.exposition import Exposition, render
from cacheproxy.gateway.telemetry.metrics import FAMILIES, OTHER, Metrics
from cacheproxy.gateway.telemetry.snapshots import add_up
from config.gateway import Server
from tests.cacheproxy.gateway.conftest import Wires
from tests.cacheproxy.gateway.world import Client, serving


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return (name, labels) → value, read by Prometheus' own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def of(text: bytes, name: str, **labels: str) -> float:
    return samples(text)[f"zerorate_{name}", frozenset(labels.items())]


def shown(metrics: Metrics) -> bytes:
    return render(add_up([metrics.snapshot(7)]))


def test_a_call_is_counted_once_with_its_labels() -> None:
    metrics = Metrics()
    metrics.call_ended("chat.completions", "qwen", "exact", 200, 187)
    metrics.call_ended("chat.completions", "qwen", "exact", 200, 2_000_000)
    metrics.call_ended("chat.completions", "", "refused", 401, 40)
    metrics.call_refused("invalid_api_key")
    text = shown(metrics)
    labels = {"surface": "chat.completions", "model": "qwen", "outcome": "exact", "status": "2xx"}
    assert of(text, "requests_total", **labels) == 2
    assert of(text, "requests_total", **labels | {"model": "", "outcome": "refused", "status": "4xx"}) == 1
    assert of(text, "refusals_total", code="invalid_api_key") == 1
    assert of(text, "request_duration_seconds_sum", outcome="exact") == 2.000187


def test_buckets_are_in_seconds_cumulative_and_inclusive() -> None:
    metrics = Metrics()
    for elapsed_us in (1, 20, 21, 100_000_000, 100_000_001):
        metrics.first_token(elapsed_us)
    text = shown(metrics)
    assert of(text, "time_to_first_token_seconds_bucket", le="2e-05") == 2
    assert of(text, "time_to_first_token_seconds_bucket", le="5e-05") == 3
    assert of(text, "time_to_first_token_seconds_bucket", le="100.0") == 4
    assert of(text, "time_to_first_token_seconds_bucket", le="+Inf") == 5
    assert of(text, "time_to_first_token_seconds_count") == 5


def test_names_are_bounded_and_nothing_is_lost() -> None:
    metrics = Metrics(max_names=3)
    for number in range(10):
        metrics.call_ended("embeddings", f"model-{number}", "miss", 200, 5)
        metrics.upstream_failed(f"upstream-{number}", "upstream_timeout")
    counted = {
        dict(labels)["model"]: value
        for (name, labels), value in samples(shown(metrics)).items()
        if name == "zerorate_requests_total"
    }
    assert counted == {"model-0": 1, "model-1": 1, "model-2": 1, OTHER: 7}
    assert of(shown(metrics), "upstream_failures_total", upstream=OTHER, code="upstream_timeout") == 7


def test_everything_has_a_method_and_a_place() -> None:
    metrics = Metrics()
    metrics.upstream_answered("local", 900)
    metrics.added(90)
    metrics.batch_committed(64, 700)
    metrics.batch_spooled(3)
    metrics.batch_withheld(2)
    metrics.client_hung_up()
    metrics.loop_lagged(12)
    metrics.open_streams, metrics.coalesced_followers = 4, 5
    metrics.read("upstream_breaker_state", lambda: {"local": 2})
    text = shown(metrics)
    assert of(text, "recorder_batch_events_bucket", le="64.0") == 1
    assert of(text, "recorder_batch_events_bucket", le="32.0") == 0
    assert of(text, "recorder_spooled_events_total") == 3
    assert of(text, "recorder_withheld_events_total") == 2
    assert of(text, "open_streams", pid="7") == 4
    assert of(text, "coalesced_followers", pid="7") == 5
    assert of(text, "upstream_breaker_state", upstream="local", pid="7") == 2


def test_every_family_is_named_before_its_first_number() -> None:
    families = {family.name: family for family in text_string_to_metric_families(shown(Metrics()).decode())}
    assert families.keys() == {f"zerorate_{name}" for name in FAMILIES}
    assert all(family.documentation for family in families.values())
    assert families["zerorate_requests"].type == "counter"


def test_counting_a_hit_hardly_costs() -> None:
    """The budget is 1.5 microseconds; ten times that fails on no machine by accident."""
    metrics, calls = Metrics(), 10_000
    seconds = min(
        timeit.repeat(
            lambda: metrics.call_ended("chat.completions", "m", "exact", 200, 90), number=calls, repeat=5
        )
    )
    assert seconds / calls < 15e-6


async def test_the_event_loops_lag_is_measured() -> None:
    metrics = Metrics()
    exposition = Exposition(metrics, None)
    await exposition.start()
    await asyncio.sleep(0.3)
    text = await exposition.text()
    await exposition.stop()
    assert of(text, "event_loop_lag_seconds_count") >= 1
    pid = {dict(labels).get("pid") for (name, labels) in samples(text) if name == "zerorate_process_open_fds"}
    assert len(pid) == 1


async def test_two_processes_answer_alike(tmp_path: Path) -> None:
    first, second = Metrics(), Metrics()
    expositions = [Exposition(metrics, str(tmp_path)) for metrics in (first, second)]
    for exposition in expositions:
        await exposition.start()
    first.client_hung_up()
    assert of(await expositions[0].text(), "client_disconnects_total") == 1
    second.client_hung_up()
    assert of(await expositions[1].text(), "client_disconnects_total") == 2
    await expositions[1].stop()
    assert of(await expositions[0].text(), "client_disconnects_total") == 2
    await expositions[0].stop()


async def asked(server: Server, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    await server({"type": "http", "method": "GET", "path": path, "headers": headers}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_a_scrape_is_answered_and_may_be_guarded(gateway: tuple[Gateway, str], client: Client) -> None:
    await client.chat()
    status, text = await asked(Server(gateway[0]), "/metrics", [])
    assert status == 200
    assert of(text, "recorder_batch_events_count") == 1
    assert of(text, "recorder_commit_seconds_count") == 1
    guarded = Server(gateway[0], metrics_token="s3cret")
    assert (await asked(guarded, "/metrics", []))[0] == 401
    assert (await asked(guarded, "/metrics", [(b"authorization", b"Bearer s3cre")]))[0] == 401
    assert (await asked(guarded, "/metrics", [(b"authorization", b"Bearer s3cret")]))[0] == 200


async def test_readiness_says_what_is_amiss(wires: Wires, cast: Any) -> None:
    async def lines(server: Server) -> tuple[int, str]:
        status, body = await asked(server, "/readyz", [])
        return status, body.decode()

    async def until(server: Server, status: int, *words: str) -> None:
        async with asyncio.timeout(5):
            while True:
                found, text = await lines(server)
                if found == status and (all(word in text for word in words) if words else text == "ready\n"):
                    return
                await asyncio.sleep(0.02)

    async with serving(wires.gateway_settings) as (gateway, url), aiohttp.ClientSession() as session:
        server, client = Server(gateway), Client(session, url, cast.acme.key)
        assert await lines(server) == (200, "ready\n")
        wires.redis.cut()
        await until(server, 200, "ready\n", "Redis is away")
        wires.redis.mend()
        await until(server, 200)
        wires.postgres.cut()
        assert (await client.chat()).status == 200
        await until(server, 200, "PostgreSQL is away", "1 batches")
        wires.redis.cut()
        await until(server, 503, "no call can be recorded")
        wires.redis.mend()
        wires.postgres.mend()
        await until(server, 200)
    assert await lines(server) == (503, "draining: this process is about to end\n")
