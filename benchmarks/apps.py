"""What the benchmarks serve: the gateway, and a bare ASGI handler to compare it with. For ``uvicorn --factory``."""

import os
from typing import Any

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings

ANSWER = b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there."},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17}}'  # fmt: skip  # noqa: E501


def bare() -> Any:
    """Return an ASGI handler that reads the body and answers with bytes it has at hand."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]

    async def handle(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    return handle


def gateway() -> Any:
    """Return the gateway on the servers that the environment names."""
    settings = GatewaySettings(
        database_url=os.environ["DATABASE_URL"],
        redis_url=os.environ["REDIS_URL"],
        key_pepper=os.environ["KEY_PEPPER"],
    )
    return WithLifespan(Gateway(settings))


class WithLifespan:
    """An ASGI application that starts and stops its gateway with the server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._gateway(scope, receive, send)
            return
        await receive()
        await self._gateway.startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._gateway.shutdown()
        await send({"type": "lifespan.shutdown.complete"})
