"""An ASGI application that does nothing but ask the upstream: what a miss costs at the very least."""

import os
from typing import Any

import aiohttp

UPSTREAM = os.environ["FORWARD_TO"]
FORWARDED = (b"content-type", b"authorization")
_session: aiohttp.ClientSession | None = None


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Pass the request on, and the answer back, part by part."""
    global _session
    if scope["type"] != "http":
        return
    if _session is None:
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=512))
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode(): value.decode() for name, value in scope["headers"] if name in FORWARDED}
    async with _session.post(UPSTREAM + scope["path"], data=body, headers=headers) as response:
        await _answer(response, send)


async def _answer(response: aiohttp.ClientResponse, send: Any) -> None:
    kept = [
        (name.lower().encode(), response.headers[name].encode())
        for name in ("Content-Type", "Content-Length")
        if name in response.headers
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": kept})
    if "Content-Length" in response.headers:
        await send({"type": "http.response.body", "body": await response.read()})
        return
    async for part in response.content.iter_any():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})
