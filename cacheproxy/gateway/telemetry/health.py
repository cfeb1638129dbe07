"""Whether this process can serve calls, and what is amiss while it does."""

from typing import NamedTuple

from cacheproxy.gateway.catalog.catalog import Catalog
from cacheproxy.gateway.recording.recorder import Recorder
from cacheproxy.gateway.recording.spool import Spool
from cacheproxy.gateway.semantics import Semantics
from metering.usage_event import UsageEvent


class Report(NamedTuple):
    """What a probe is told: whether to send calls here, and lines for a human."""

    ready: bool
    lines: list[str]


class Health:
    """Knows from the parts that work all the time anyway; a probe asks no server."""

    def __init__(
        self, catalog: Catalog, recorder: Recorder, spool: Spool[UsageEvent] | None, semantics: Semantics
    ) -> None:
        self.draining = False
        self._catalog = catalog
        self._recorder = recorder
        self._spool = spool
        self._semantics = semantics

    def report(self) -> Report:
        """Return ready while calls can be admitted and recorded, however degraded, and no shutdown has begun."""
        if self.draining:
            return Report(False, ["draining: this process is about to end"])
        if not self._catalog.loaded:
            return Report(False, ["starting: the catalog is not loaded; is PostgreSQL up?"])
        postgres_away = self._recorder.database_away
        spool_away = self._spool is None or self._spool.away
        if postgres_away and spool_away:
            return Report(False, ["PostgreSQL and Redis are away: no call can be recorded"])
        return Report(True, ["ready", *self._degraded(postgres_away)])

    def _degraded(self, postgres_away: bool) -> list[str]:
        lines = []
        if postgres_away:
            lines.append(
                "degraded: PostgreSQL is away: usage events wait in Redis, new keys and prices take no effect"
            )
        if self._spool is not None and self._spool.away:
            lines.append("degraded: Redis is away: no shared cache, no outage spool, limits by process")
        if self._spool is not None and self._spool.last_depth:
            lines.append(f"degraded: {self._spool.last_depth} batches of usage events wait in the spool")
        return [*lines, *(f"degraded: {trouble}" for trouble in self._semantics.troubles())]
