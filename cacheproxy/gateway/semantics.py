"""The semantic tier in a gateway: opened once a model of the catalog wants it, and not before.

It needs an extra, an encoder of some hundred megabytes and connections of its own. Where a part of it is missing,
that is said once, and calls go on without; while it opens, too.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cacheproxy.gateway.catalog.catalog import Catalog, Model
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.tasks import end
from cacheproxy.gateway.telemetry.metrics import MILLION, Metrics, Reading
from cacheproxy.gateway.upstreams.failover import Upstreams
from cacheproxy.semantic.budget.account import Account
from cacheproxy.semantic.budget.rules import rules_of
from cacheproxy.semantic.errors import SemanticError

if TYPE_CHECKING:  # these need packages that are an extra
    from cacheproxy.semantic.assembly import Assembly
    from cacheproxy.semantic.tier import SemanticTier

logger = logging.getLogger(__name__)

Open = Callable[
    [GatewaySettings, Callable[[str], Model | None], Upstreams],
    "contextlib.AbstractAsyncContextManager[Assembly]",
]
OPENING_SECONDS = 30.0
"""That a start waits for it: the first time its graph is built, which takes a few."""


def open_shipped(
    settings: GatewaySettings, find: Callable[[str], Model | None], upstreams: Upstreams
) -> "contextlib.AbstractAsyncContextManager[Assembly]":
    """Return the tier as it is shipped, to be entered.

    Raises:
        SemanticError, ImportError: the extra is not installed.
    """
    from cacheproxy.semantic.shipped import opened

    return opened(settings, find, upstreams)


class Semantics:
    """The tier, if there is one, and what is amiss with it."""

    def __init__(
        self,
        settings: GatewaySettings,
        catalog: Catalog,
        upstreams: Upstreams,
        *,
        open_tier: Open = open_shipped,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._upstreams = upstreams
        self._open_tier = open_tier
        self._opening: asyncio.Task[None] | None = None
        self._stack = contextlib.AsyncExitStack()
        self._assembly: Assembly | None = None
        self._missing = ""
        catalog.on_models = self._look

    @property
    def tier(self) -> "SemanticTier[Any] | None":
        """Return the tier; None while it opens, where it cannot, and where no model wants it."""
        return self._assembly.tier if self._assembly is not None else None

    async def settle(self) -> None:
        """Wait until the tier is open, if any model wants it; but not for ever."""
        if self._opening is not None:
            await asyncio.wait({self._opening}, timeout=OPENING_SECONDS)

    async def stop(self) -> None:
        """Let go of everything."""
        if self._opening is not None:
            await end(self._opening)
        self._assembly = None
        await self._stack.aclose()

    def accounts(self) -> Mapping[str, Account]:
        """Return the error budgets of the models as they are served now."""
        if self._assembly is None:
            return {}
        known = self._assembly.ledger.accounts()
        models = self._catalog.models.values()
        return {model.name: known[model.name, model.version] for model in models if model.rules.semantics}

    def tell(self, metrics: Metrics) -> None:
        """Have *metrics* know of the error budgets."""

        def of_each(say: Callable[[Account], int]) -> Reading:
            return lambda: {name: say(account) for name, account in self.accounts().items()}

        metrics.read("semantic_wrong_ratio", of_each(lambda account: round(account.upper * MILLION)))
        metrics.read("semantic_tolerated_ratio", of_each(lambda account: round(account.tolerance * MILLION)))
        metrics.read("semantic_shut_off", of_each(lambda account: int(account.state.shut)))
        metrics.read("semantic_forgotten_questions", self._forgotten)

    def _forgotten(self) -> int:
        return self._assembly.writer.forgotten if self._assembly is not None else 0

    def troubles(self) -> list[str]:
        """Return what an operator should know, in lines."""
        off = [f"semantic hits are off: {self._missing}"] if self._missing else []
        if self._opening is not None and not self._opening.done():
            off = ["semantic hits are off: the encoder is being opened"]
        shut = [
            f"semantic hits of {name} are shut off by their error budget"
            for name, account in self.accounts().items()
            if account.state.shut
        ]
        return [*off, *shut]

    def _look(self) -> None:
        """See which models want the tier by now."""
        if self._assembly is not None:
            self._join(self._assembly)
        elif self._opening is None and any(model.rules.semantics for model in self._catalog.models.values()):
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        try:
            opening = self._open_tier(self._settings, self._catalog.models.get, self._upstreams)
            assembly = await self._stack.enter_async_context(opening)
        except (SemanticError, ImportError, OSError) as failure:
            self._missing = str(failure)
            logger.error("Semantic hits are off, and calls go on without: %s", failure)  # noqa: TRY400 - it says what to do
            return
        self._join(assembly)
        await (
            assembly.ledger.exchange()
        )  # what others have shut off is not to be served here, not for a second
        self._assembly = assembly

    def _join(self, assembly: "Assembly") -> None:
        """Take part in the budgets of all models that want the tier, before anybody calls them."""
        for model in self._catalog.models.values():
            for semantic in model.rules.semantics[:1]:
                assembly.ledger.budget(model.name, model.version, rules_of(semantic))
