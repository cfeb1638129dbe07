"""The semantic tier as it is shipped: the local encoder and the verifier that was trained for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.semantic.assembly import Assembly, FindModel, RemoteEmbedders, assembled
from cacheproxy.semantic.embedding import Free, Remembering
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.verifier import Reading, Verifier

WARM_UP = "How do I warm up an encoder before anybody waits for it?"


@contextlib.asynccontextmanager
async def opened(settings: GatewaySettings, find: FindModel, upstreams: Upstreams) -> AsyncIterator[Assembly]:
    """Yield the tier, its encoder warm.

    Raises:
        SemanticError: a package, the encoder's model or the verifier is missing.
        OSError: the encoder's graph cannot be kept in the settings' folder.
    """
    encoder = await asyncio.to_thread(
        LocalEncoder.open, Path(settings.models_dir), threads=settings.encoder_threads
    )
    try:
        verifier = await asyncio.to_thread(Verifier.load)
        await encoder.encode([WARM_UP])
        async with assembled(
            settings,
            local=Remembering(Free(encoder)),
            judge=verifier,
            unpack=Reading.unpack,
            remote=RemoteEmbedders(find, upstreams),
        ) as assembly:
            yield assembly
    finally:
        encoder.close()
