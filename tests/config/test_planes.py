"""One port, two planes: which path goes where, and what the probes say."""

import asyncio
from typing import Any

import pytest

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from config.gateway import Server


async def elsewhere(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})


@pytest.fixture
def gateway(live_db: str, redis_url: str) -> Gateway:
    return Gateway(GatewaySettings(database_url=live_db, redis_url=redis_url, key_pepper="pepper"))


async def status_of(server: Server, path: str) -> int:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    await server({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models", 401),
        ("/v2/health/ready", 503),
        ("/v1", 299),
        ("/admin/", 299),
        ("/api/v1/usage", 299),
        ("/v10/models", 299),
    ],
)
async def test_a_path_goes_to_one_plane(gateway: Gateway, path: str, status: int) -> None:
    assert await status_of(Server(gateway, elsewhere), path) == status


async def test_alone_the_gateway_answers_everything(gateway: Gateway) -> None:
    assert await status_of(Server(gateway), "/admin/") == 404


async def test_a_process_is_ready_between_start_and_end_of_its_lifespan(gateway: Gateway) -> None:
    server, told = Server(gateway), asyncio.Queue[str]()
    events = asyncio.Queue[str]()

    async def receive() -> dict[str, Any]:
        return {"type": await events.get()}

    async def send(message: Any) -> None:
        told.put_nowait(message["type"])

    assert [await status_of(server, path) for path in ("/healthz", "/readyz")] == [200, 503]
    life = asyncio.create_task(server({"type": "lifespan"}, receive, send))
    events.put_nowait("lifespan.startup")
    assert await told.get() == "lifespan.startup.complete"
    assert [await status_of(server, path) for path in ("/healthz", "/readyz")] == [200, 200]
    events.put_nowait("lifespan.shutdown")
    assert await told.get() == "lifespan.shutdown.complete"
    await life
