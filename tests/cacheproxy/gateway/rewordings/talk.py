"""What the tests of semantic hits say, and the tier that they open."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.catalog.catalog import Model
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.semantic.assembly import Assembly, RemoteEmbedders, assembled
from cacheproxy.semantic.embedding import Free, Remembering
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from tests.cacheproxy.gateway.world import World, eventually
from tests.cacheproxy.semantic.judge import WordJudge, unpack

ASKED = "How do I cancel my train ticket?"
REWORDED = "How can I cancel my train ticket?"
TRAP = "How do I cancel 2 train tickets?"


class Draw(random.Random):
    """What decides whether a hit is checked: as the test says."""

    checks = False

    def random(self) -> float:
        return 0.0 if self.checks else 1.0


class Semantic:
    """Opens the tier with a judge whose verdicts are plain."""

    def __init__(self, encoder: LocalEncoder, draw: Draw, *, judge: type[WordJudge] = WordJudge) -> None:
        self._judge = judge(encoder.name)
        self._encoder = encoder
        self._draw = draw
        self.opened: list[Assembly] = []

    @contextlib.asynccontextmanager
    async def open(
        self, settings: GatewaySettings, find: Callable[[str], Model | None], upstreams: Upstreams
    ) -> AsyncIterator[Assembly]:
        async with assembled(
            settings,
            local=Remembering(Free(self._encoder)),
            judge=self._judge,
            unpack=unpack,
            remote=RemoteEmbedders(find, upstreams),
            draw=self._draw,
        ) as assembly:
            self.opened.append(assembly)
            yield assembly


async def remembered(world: World, entries: int = 1) -> None:
    """Wait until so many questions are kept."""

    async def are_kept() -> bool:
        kept: int = await world.sql.fetchval("SELECT count(*) FROM cacheproxy_semanticentry")
        assert kept <= entries, "more questions are kept than were to be"
        return kept == entries

    await eventually(are_kept, within_seconds=10)


def findings(gateway: tuple[Gateway, str]) -> dict[str, int]:
    """Return how often each thing came of looking for a question."""
    return _counted(gateway[0], "semantic_findings")


def checks(gateway: tuple[Gateway, str]) -> dict[str, int]:
    """Return how often comparisons found what."""
    return _counted(gateway[0], "semantic_checks")


def _counted(gateway: Gateway, family: str) -> dict[str, int]:
    series = gateway.metrics.snapshot(0).families.get(family, [])
    return {labels[1]: count for labels, count in series if isinstance(count, int)}
