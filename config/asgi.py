"""Both planes on one port: ``uvicorn config.asgi:application``.

``/v1/…`` and ``/v2/…`` go to the gateway, with no Django on their way. All else goes to Django, as WSGI in a
small pool of threads: its ASGI handler makes and tears down a thread per request.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from a2wsgi import WSGIMiddleware

from cacheproxy.gateway.asgi import Gateway
from config.gateway import application as gateway
from config.wsgi import application as django

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CONTROL_PLANE_THREADS = 8


class TwoPlanes:
    """Sends each request to its plane and answers the probes."""

    def __init__(self, gateway: Gateway, control_plane: Any) -> None:
        self.gateway = gateway
        self.control_plane = control_plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or scope["path"].startswith(("/v1/", "/v2/")):
            await self.gateway(scope, receive, send)
        elif scope["path"] == "/healthz":
            await _answer(send, 200, b"ok\n")
        elif scope["path"] == "/readyz":
            await self._readyz(send)
        else:
            await self.control_plane(scope, receive, send)

    async def _readyz(self, send: Send) -> None:
        if self.gateway.ready():
            await _answer(send, 200, b"ready\n")
        else:
            await _answer(send, 503, b"starting: the catalog is not loaded; is PostgreSQL up?\n")


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = TwoPlanes(gateway, WSGIMiddleware(cast("Any", django), workers=CONTROL_PLANE_THREADS))
