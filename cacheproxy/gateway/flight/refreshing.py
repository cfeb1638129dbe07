"""Answers asked for again while calls still get the old ones: shortly before they expire, or for a while after.

A refresh is a work like any other, but for having no client: calls that find no answer any more listen to it, other
gateways meet it at the key's lease, and its answer takes the old one's place in every tier. No event is written for
it. Hits of the new answer, and whoever listened, name the miss that paid for the first one (ADR 0030).
"""

import logging
import random
import time
from collections import OrderedDict
from typing import Literal

import msgspec

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.epochs import Tagged
from cacheproxy.cache.tiers import Tiers
from cacheproxy.cache.xfetch import is_due
from cacheproxy.gateway.errors import GatewayError, InternalError
from cacheproxy.gateway.flight.asking import as_shared
from cacheproxy.gateway.flight.background import Background, Fresh, unasked
from cacheproxy.gateway.flight.coalescing import Coalescing
from cacheproxy.gateway.flight.rewordings import Rewordings
from cacheproxy.gateway.flight.work import Found, Led, Result, Work
from cacheproxy.gateway.keeping import to_keep
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.understanding import Ask

logger = logging.getLogger(__name__)

REST_MS = 5_000
"""How long a key is left alone whose refresh came to no new answer."""
MAX_RESTING = 4_096

End = Literal["replaced", "elsewhere", "unfit", "failed", "put_off"]
"""What comes of a refresh: a new answer; another gateway's; one that is not kept; none; or there was no room for it."""


class Refreshing:
    """Decides which hits have their answer asked for again, and sees to it."""

    def __init__(
        self,
        tiers: Tiers,
        coalescing: Coalescing,
        background: Background,
        rewordings: Rewordings,
        metrics: Metrics,
    ) -> None:
        self._tiers = tiers
        self._coalescing = coalescing
        self._background = background
        self._rewordings = rewordings
        self._metrics = metrics
        self._resting: OrderedDict[bytes, int] = OrderedDict()

    def consider(self, ask: Ask, found: Found) -> None:
        """Begin to ask again for what *ask* was found, if its policy wants that and it is time. Never waits."""
        if not _wants(ask, found) or not ask.may_share or ask.controls.only_if_cached:
            return
        if self._coalescing.under_way(ask) is not None or self._rests(ask):
            return
        if self._background.has_room(ask.facts.model):
            self._begin(ask, found.stored)
        else:
            self._count(ask, "put_off")

    def _begin(self, ask: Ask, old: StoredAnswer) -> None:
        work = Work(unasked(ask, old.source_event), ask.request(), drain_seconds=0, drain_tokens=0)
        work.replaces = old
        self._coalescing.announce(work)
        self._background.begin(work, self._run)

    async def _run(self, work: Work) -> None:
        """Bring *work* to its end, then let those outside this process know. Never raises."""
        try:
            result = await self._result(work, work.leader)
        except GatewayError as problem:
            logger.info("A refresh of %s failed: %s", work.leader.facts.model.name, problem.message)
            work.fail(problem)
        except Exception:  # a bug of ours: the old answer stays, the log has the trace
            logger.exception("A refresh of %s failed inside the gateway.", work.leader.facts.model.name)
            work.fail(InternalError())
        else:
            work.end(result)
        end = _end(work)
        self._count(work.leader, end)
        if end in {"failed", "unfit"}:
            self._rest(work.leader)
        await self._coalescing.settle(work)
        if work.leader.facts.rules.policy.semantic is not None:
            self._rewordings.conclude(work)

    async def _result(self, work: Work, ask: Ask) -> Result:
        found = await self._coalescing.meet(work)
        if found is not None:
            return found
        fresh = await self._background.compute(work, "refresh")
        if isinstance(fresh, Led):
            return fresh
        stored = await self._kept(work, fresh)
        kept = []
        if stored is not None and ask.facts.key is not None:
            self._tiers.memory.put(ask.facts.key, stored)
            kept = [(ask.facts.key, stored)]
        return Led(fresh.status, fresh.answer, fresh.passed, stored, (), kept, is_whole=fresh.is_whole)

    async def _kept(self, work: Work, fresh: Fresh) -> StoredAnswer | None:
        """Return the new answer as it takes the old one's place; None where it may not."""
        ask, old = work.leader, work.replaces
        answer = await to_keep(ask, fresh.parsed, fresh.answer) if fresh.is_whole else None
        if answer is None or old is None or not ask.dialect.lasts(work.request, fresh.parsed):
            return None
        stored = as_shared(ask, fresh.measured, answer, fresh.took_us)
        if stored is None or not self._tiers.takes(stored):
            return None
        tagged = old.tagged and Tagged(old.tagged.owner, ask.facts.era.began, old.tagged.tags)
        return msgspec.structs.replace(stored, tagged=tagged, paid_by=old.paid_by)

    def _rests(self, ask: Ask) -> bool:
        assert ask.facts.key is not None, "what was found has one"
        return self._resting.get(ask.facts.key, 0) > ask.call.now_ms

    def _rest(self, ask: Ask) -> None:
        assert ask.facts.key is not None, "what was found has one"
        self._resting[ask.facts.key] = time.time_ns() // 1_000_000 + REST_MS
        self._resting.move_to_end(ask.facts.key)
        if len(self._resting) > MAX_RESTING:
            self._resting.popitem(last=False)

    def _count(self, ask: Ask, end: End) -> None:
        self._metrics.background_ended(ask.facts.model.name, "refresh", end)


def _wants(ask: Ask, found: Found) -> bool:
    if found.how == "stale":
        return found.because == "stale-while-revalidate"
    beta = ask.facts.rules.policy.early_refresh
    if found.how != "exact" or not beta:
        return False
    left_ms = found.stored.expires_at_ms - ask.call.now_ms
    return is_due(left_ms, found.stored.took_us, beta, 1 - random.random())  # noqa: S311 - spreads load


def _end(work: Work) -> End:
    if work.result.exception() is not None:
        return "failed"
    result = work.result.result()
    if isinstance(result, Found):
        return "elsewhere"
    if result.kept:
        return "replaced"
    return "unfit" if result.is_whole else "failed"
