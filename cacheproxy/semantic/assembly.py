"""The semantic tier with all that it stands on, for as long as a gateway runs. Needs the extra `semantic`."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cacheproxy.gateway.at_rest import at_rest_of
from cacheproxy.gateway.catalog.catalog import Model
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.semantic.budget.ledger import Ledger
from cacheproxy.semantic.embedding import Embedder, Remembering
from cacheproxy.semantic.kept import Keeping
from cacheproxy.semantic.remote import RemoteEmbedder
from cacheproxy.semantic.store import Store
from cacheproxy.semantic.tier import Judge, Reading, SemanticTier
from cacheproxy.semantic.writer import Writer

FindModel = Callable[[str], Model | None]


class Assembly(NamedTuple):
    """The tier, and those of its parts that somebody else looks at."""

    tier: SemanticTier[Any]
    ledger: Ledger
    writer: Writer


class RemoteEmbedders:
    """The catalog's encoders by name, each version with a memory of its own."""

    def __init__(self, find: FindModel, upstreams: Upstreams) -> None:
        self._find = find
        self._upstreams = upstreams
        self._known: dict[str, tuple[str, Remembering]] = {}

    def __call__(self, name: str) -> Embedder:
        """Return the encoder that is the model *name*."""
        embedder = RemoteEmbedder(name, self._find, self._upstreams)
        version, known = self._known.get(name, ("", None))
        if known is None or version != embedder.name:
            known = Remembering(embedder)
            self._known[name] = embedder.name, known
        return known


@contextlib.asynccontextmanager
async def assembled(
    settings: GatewaySettings,
    *,
    local: Embedder,
    judge: Judge[Reading],
    unpack: Callable[[bytes], Reading],
    remote: Callable[[str], Embedder],
    draw: random.Random | None = None,
) -> AsyncIterator[Assembly]:
    """Yield the tier, at work; on leaving, findings are told to the others, and entries that wait are forgotten.

    *draw* picks the hits that are checked.
    """
    store = Store(settings)
    writer = Writer(store)
    ledger = Ledger(settings, lambda: datetime.now(UTC), draw=draw)
    tier = SemanticTier(
        store=store,
        writer=writer,
        ledger=ledger,
        keeping=Keeping(at_rest_of(settings)),
        judge=judge,
        unpack=unpack,
        local=local,
        remote=remote,
    )
    await store.start()
    await writer.start()
    await ledger.start()
    try:
        yield Assembly(tier, ledger, writer)
    finally:
        await ledger.stop()
        await writer.stop()
        await store.stop()
        tier.close()
