"""Semantic hits that are checked: their upstream is really asked, behind the call, and the two answers compared.

Nobody waits for a check and nobody is billed for it. One that proves its hit wrong ends the entry that it came from,
and names everybody who was given it, so that they are credited.
"""

import logging
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.errors import GatewayError
from cacheproxy.gateway.flight.background import Background, unasked
from cacheproxy.gateway.flight.work import Found, Led, Reworded, Work
from cacheproxy.gateway.keeping import to_keep
from cacheproxy.gateway.recording.wrong_hits import WrongHit, WrongHits
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols.request import Answer, InferenceRequest
from cacheproxy.semantic.finding import Finding
from metering.usage_event import UsageEvent

if TYPE_CHECKING:  # it needs packages that are an extra
    from cacheproxy.semantic.tier import SemanticTier

logger = logging.getLogger(__name__)

FORGET_SECONDS = 1.0
REASON = "The answer had been given to another wording; asked itself, the model answers something else."


class ShadowChecks:
    """The checks of one process."""

    def __init__(self, background: Background, wrong_hits: WrongHits, metrics: Metrics) -> None:
        self._background = background
        self._wrong_hits = wrong_hits
        self._metrics = metrics

    def begin(self, tier: "SemanticTier[Any]", work: Work, found: Found) -> None:
        """Check what *work* came to, unless the upstream has other things to do."""
        ask, limits = work.leader, work.leader.caller.limits
        if not self._background.has_room(ask.facts.model):
            self._note(ask, "dropped")
            return
        shadow = Work(
            unasked(ask, found.stored.source_event),
            work.request,
            drain_seconds=limits.drain_seconds,
            drain_tokens=limits.drain_tokens,
        )
        assert work.finding is not None, "a semantic hit was found"
        assert found.reworded is not None
        self._background.begin(shadow, partial(self._check, tier, work.finding, found.reworded, found.stored))

    async def compare(
        self,
        tier: "SemanticTier[Any]",
        finding: Finding,
        ask: Ask,
        request: InferenceRequest,
        *,
        kept: StoredAnswer,
        fresh: StoredAnswer | Answer,
    ) -> bool | None:
        """Return whether two answers to *ask* say the same, None where nobody can tell, and let the budget know."""
        dialect = ask.dialect
        answers = [Answer(answer.headers, answer.body) for answer in (kept, fresh)]
        said = [dialect.said(dialect.read(request, answer)) for answer in answers]
        same = await tier.check(finding, stored=said[0], fresh=said[1])
        self._note(ask, "unknown" if same is None else "same" if same else "wrong")
        return same

    async def _check(
        self,
        tier: "SemanticTier[Any]",
        finding: Finding,
        reworded: Reworded,
        given: StoredAnswer,
        shadow: Work,
    ) -> None:
        try:
            fresh = await self._fresh(shadow)
            if fresh is None:
                self._note(shadow.leader, "unknown")
                return
            same = await self.compare(tier, finding, shadow.leader, shadow.request, kept=given, fresh=fresh)
            if same is False:
                reworded.prove_wrong(partial(self._report, reworded))
                await tier.forget(finding, reworded.hit, seconds=FORGET_SECONDS)
        except Exception:  # a bug of ours: nobody waits, and the log is all that there is to tell
            logger.exception("A semantic hit was not checked.")

    async def _fresh(self, shadow: Work) -> Answer | None:
        """Return what the upstream answers now, as it would be kept; None where it would not be."""
        try:
            fresh = await self._background.compute(shadow, "check")
        except GatewayError as failure:
            logger.debug("A semantic hit could not be checked: %s", failure.message)
            return None
        if isinstance(fresh, Led) or not fresh.is_whole:
            return None
        return await to_keep(shadow.leader, fresh.parsed, fresh.answer)

    def _report(self, reworded: Reworded, event: UsageEvent) -> None:
        assert event.source_event is not None, "every hit has a source"
        self._wrong_hits.add(
            WrongHit(
                event.tenant_id,
                event.event_id,
                event.occurred_at,
                event.model,
                event.source_event,
                reworded.hit.similarity,
                reworded.hit.score,
                REASON,
                datetime.now(UTC),
            )
        )

    def _note(self, ask: Ask, result: str) -> None:
        self._metrics.semantic_checked(ask.facts.model.name, result)
