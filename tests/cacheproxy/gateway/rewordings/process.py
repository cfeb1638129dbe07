"""A gateway in a process of its own with the tier as it is shipped, but that every semantic hit is checked."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.semantic.assembly import Assembly, FindModel, RemoteEmbedders, assembled
from cacheproxy.semantic.embedding import Free, Remembering
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.verifier import Reading, Verifier
from tests.cacheproxy.gateway.process import serve
from tests.cacheproxy.gateway.rewordings.talk import Draw


@contextlib.asynccontextmanager
async def opened(settings: GatewaySettings, find: FindModel, upstreams: Upstreams) -> AsyncIterator[Assembly]:
    """Yield the tier."""
    encoder, draw = LocalEncoder.open(Path(settings.models_dir)), Draw()
    draw.checks = True
    async with assembled(
        settings,
        local=Remembering(Free(encoder)),
        judge=Verifier.load(),
        unpack=Reading.unpack,
        remote=RemoteEmbedders(find, upstreams),
        draw=draw,
    ) as assembly:
        yield assembly
    encoder.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), open_tier=opened))
