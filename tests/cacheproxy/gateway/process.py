"""A gateway in a process of its own, to be killed; ``python -m`` of this module, with a port, is that process."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvicorn

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.http.protocol import HttpProtocol
from cacheproxy.gateway.semantics import Open, open_shipped
from config.gateway import Server

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 20


class GatewayProcess:
    """One gateway process on a port that stays the same over its lives.

    *module* is what runs in it, where that is another than this one; it calls `serve`, too.
    """

    def __init__(self, settings: GatewaySettings, port: int, *, module: str = __name__) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", module, str(port)]
        self._environment = os.environ | {"GATEWAY_SETTINGS": msgspec.json.encode(settings).decode()}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and return once it serves."""
        self._process = await asyncio.create_subprocess_exec(*self._command, cwd=ROOT, env=self._environment)
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/v1/models") as response:
                        if response.status == 401:
                            return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end."""
        await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        await self._process.wait()


async def serve(port: int, *, open_tier: Open = open_shipped) -> None:
    """Serve a gateway until asked to end, as it is served in production."""
    settings = msgspec.json.decode(os.environ["GATEWAY_SETTINGS"], type=GatewaySettings)
    config: dict[str, Any] = {
        "lifespan": "on",
        "timeout_graceful_shutdown": int(settings.shutdown_grace_seconds),
        "http": HttpProtocol,
        "access_log": False,
        "proxy_headers": False,
        "log_level": "warning",
    }
    application = Server(Gateway(settings, open_tier=open_tier))
    with contextlib.suppress(KeyboardInterrupt):
        await uvicorn.Server(uvicorn.Config(application, port=port, ws="none", **config)).serve()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
