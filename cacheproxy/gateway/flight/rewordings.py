"""A miss's question in other words: looked for before the upstream is asked, remembered once its answer is kept.

Only for models, or tasks of theirs, whose policy says `semantic`; all other calls pay one test of it. Exact hits are
never looked for in other words, and a semantic hit is kept under its own exact key nowhere: whoever asks again in the
same words has a semantic hit again, at its price and under its error budget.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.tiers import Tiers
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.flight.shadow_checks import FORGET_SECONDS, ShadowChecks
from cacheproxy.gateway.flight.work import Found, Led, Reworded, Work
from cacheproxy.gateway.semantics import Semantics
from cacheproxy.gateway.telemetry.metrics import Metrics
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols import document
from cacheproxy.protocols.request import InferenceRequest
from cacheproxy.semantic.budget.rules import rules_of
from cacheproxy.semantic.finding import Finding, Question, SemanticHit

if TYPE_CHECKING:  # it needs packages that are an extra
    from cacheproxy.semantic.tier import SemanticTier

logger = logging.getLogger(__name__)

THREAD_BYTES = 32_768
"""A longer body takes some tenths of a millisecond to write out without its question."""
STUDY_SECONDS = 5.0
MAX_AFTERWARDS = 256
"""Answers at once whose questions are remembered, or compared, behind their calls; of more, none is."""


class Rewordings:
    """Where misses meet the semantic tier."""

    def __init__(
        self,
        settings: GatewaySettings,
        tiers: Tiers,
        semantics: Semantics,
        checks: ShadowChecks,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._tiers = tiers
        self._semantics = semantics
        self._checks = checks
        self._metrics = metrics
        self._afterwards: set[asyncio.Task[None]] = set()

    async def find(self, ask: Ask, request: InferenceRequest) -> tuple[Finding | None, Found | None]:
        """Return what came of looking for the question in other words, and the answer to be given if there is one.

        Never raises: what goes wrong here is a miss.
        """
        finding, found, reason = None, None, "off"
        try:
            if (tier := self._semantics.tier) is not None:
                finding, found, reason = await self._find(tier, ask, request)
        except Exception:  # a bug of ours must not cost an answer that the upstream can give
            logger.exception("The call %s was not looked for in other words.", ask.call.event_id)
            reason = "error"
        self._metrics.semantically_sought(ask.facts.model.name, reason)
        return finding, found

    def conclude(self, work: Work) -> None:
        """Remember the question of an answer that was kept, and check what is to be checked. Nobody waits for it."""
        tier = self._semantics.tier
        if tier is None or work.result.exception() is not None:
            return
        result = work.result.result()
        if result.stored is None:
            return
        if isinstance(result, Led):
            self._later(self._conclude(tier, work, result, result.stored))
        elif result.how == "semantic" and work.finding is not None and work.finding.check is not None:
            self._checks.begin(tier, work, result)

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        while self._afterwards:
            await asyncio.wait(self._afterwards)

    async def _find(
        self, tier: "SemanticTier[Any]", ask: Ask, request: InferenceRequest
    ) -> tuple[Finding | None, Found | None, str]:
        question = await self._question(tier, ask, request)
        if question is None:
            return None, None, "no_question"
        finding = await tier.find(question, now=_now(), seconds=self._settings.semantic_budget_seconds)
        return finding, *await self._found(tier, ask, finding)

    async def _found(self, tier: "SemanticTier[Any]", ask: Ask, finding: Finding) -> tuple[Found | None, str]:
        """Return the answer of the finding's hit, or why it is not given."""
        hit = finding.hit
        if hit is None:
            return None, finding.reason
        stored, is_gone = await self._answer(ask, hit)
        if stored is not None and not ask.has_ended(stored):
            if ask.facts.era.is_over or not ask.is_young_enough(stored, ask.call.now_ms):
                return None, "client"
            return Found(stored, "semantic", reworded=Reworded(hit, finding.raw_usage)), "hit"
        if is_gone or stored is not None:
            self._later(tier.forget(finding, hit, seconds=FORGET_SECONDS))
        return None, "gone"

    async def _answer(self, ask: Ask, hit: SemanticHit) -> tuple[StoredAnswer | None, bool]:
        """Return what is kept of a hit; and whether it is certain that nobody has it, if this gateway has not."""
        key, now_ms, redis = ask.facts.era.key(hit.answer_key), _now_ms(), self._tiers.redis
        failures = redis.failures if redis is not None else 0
        stored = self._tiers.memory.get(key, now_ms) or await self._tiers.fetch(key, now_ms)
        return stored, redis is not None and redis.failures == failures

    async def _question(
        self, tier: "SemanticTier[Any]", ask: Ask, request: InferenceRequest
    ) -> Question | None:
        """Return what is looked for; None where the last turn is no plain text, or one that must not be kept."""
        if len(ask.body) > THREAD_BYTES:
            return await asyncio.to_thread(_question, tier, ask, request)
        return _question(tier, ask, request)

    async def _conclude(self, tier: "SemanticTier[Any]", work: Work, led: Led, fresh: StoredAnswer) -> None:
        ask, finding = work.leader, work.finding
        if any(key == ask.facts.key for key, _ in led.kept):
            await self._remember(tier, work, fresh)
        if finding is not None and finding.check is not None:
            candidate, _ = await self._answer(ask, finding.check)
            if candidate is not None and not ask.has_ended(candidate):
                await self._checks.compare(tier, finding, ask, work.request, kept=candidate, fresh=fresh)

    async def _remember(self, tier: "SemanticTier[Any]", work: Work, fresh: StoredAnswer) -> None:
        ask, finding = work.leader, work.finding
        if finding is None or finding.sought is None:
            question = (
                finding.question if finding is not None else await self._question(tier, ask, work.request)
            )
            if question is None:
                return
            finding = await tier.study(question, seconds=STUDY_SECONDS)
        expires_at = datetime.fromtimestamp(fresh.expires_at_ms / 1000, UTC)
        tier.remember(finding, ask.name_of(work.request), now=_now(), expires_at=expires_at)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._afterwards) >= MAX_AFTERWARDS:
            work.close()
            return
        task = asyncio.create_task(_logged(work))
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)


def _question(tier: "SemanticTier[Any]", ask: Ask, request: InferenceRequest) -> Question | None:
    semantic, screen = ask.facts.rules.policy.semantic, ask.facts.rules.screen
    assert semantic is not None, "the policy was looked at"
    wording = ask.dialect.wording(request)
    if wording is None or (screen is not None and screen.finds(wording.text)):
        return None
    vectors = tier.encoder_name(semantic.encoder).encode()
    return Question(
        text=wording.text,
        context=sha256(b"%b/%b" % (ask.name_of(wording.rest), vectors)).digest(),
        tenant_id=ask.caller.access.tenant_id,
        scope=ask.scope,
        model=ask.facts.model.name,
        version=ask.facts.model.version,
        rules=rules_of(semantic),
        encoder=semantic.encoder,
    )


def with_look_up(raw_usage: bytes | None, finding: Finding | None) -> bytes | None:
    """Return an event's raw usage with what the look-up took, where that is anything."""
    if finding is None or not finding.raw_usage:
        return raw_usage
    reported = document.read(raw_usage) if raw_usage is not None else {}
    return document.write({**reported, **finding.raw_usage})


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:  # nobody waits for it: the log is all that there is to tell
        logger.exception("What was left to do after a call failed.")


def _now() -> datetime:
    return datetime.now(UTC)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
