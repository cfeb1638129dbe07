"""The semantic tier: an answer for a question that was asked before in other words.

    finding = await tier.find(question, now=now, seconds=0.05)
    if finding.hit: ...serve what is kept under finding.hit.answer_key
    if finding.check: ...once the upstream has answered: await tier.check(finding, stored=…, fresh=…)
    ...of a miss whose answer is kept: tier.remember(finding, answer_key, now=now, expires_at=…)

Nothing here may fail a call or hold it up for longer than it says: what does not come in time is a miss.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cacheproxy.cache.at_rest import Damaged, Foreign
from cacheproxy.semantic.answers import Comparison, SameAnswer
from cacheproxy.semantic.budget.budget import Budget
from cacheproxy.semantic.budget.ledger import Ledger
from cacheproxy.semantic.budget.rules import LEAST_SCORE, region_of
from cacheproxy.semantic.embedding import Embedder
from cacheproxy.semantic.errors import SemanticError
from cacheproxy.semantic.finding import Finding, Question, SemanticHit
from cacheproxy.semantic.kept import Keeping, Kept
from cacheproxy.semantic.room import cells_of, fit
from cacheproxy.semantic.store import Candidate, Entry, Store
from cacheproxy.semantic.writer import Writer

logger = logging.getLogger(__name__)

Vector = NDArray[np.float32]
CANDIDATES = 5
UNREADABLE = ("foreign", "stale")
SURE = 0.9
"""A score at which the other candidates, further away, are not judged: each takes half a millisecond."""
MAX_CHARACTERS = 4096
"""A longer question is not looked for: encoders read only its beginning."""


class Readable(Protocol):
    """All that a judge knows of one text."""

    def pack(self) -> bytes:
        """Return it as bytes to keep beside the text's vector."""


Reading = TypeVar("Reading", bound=Readable)


class Verdict(Protocol):
    """What a judge thinks of a pair."""

    @property
    def score(self) -> float:
        """How likely, 0 to 1, the two are one question."""

    @property
    def refused_by(self) -> str | None:
        """The word for what refuses the pair, whatever the score."""


class Judge(Protocol[Reading]):
    """Tells whether two questions are one. Called in a thread."""

    @property
    def encoder(self) -> str:
        """The name of the encoder whose vectors it knows."""

    def read(self, text: str, vector: Vector) -> Reading:
        """Return the reading of *text* whose unit *vector* that encoder gave."""

    def judge(self, new: Reading, stored: Reading, cosine: float) -> Verdict:
        """Return what is thought of a pair."""


class _Vectors(NamedTuple):
    """A question's vectors, and the tokens that a remote encoder counted for them."""

    searched: Vector
    judged: Vector
    tokens: int


class Sought(NamedTuple):
    """A question as it is kept."""

    vector: Vector
    """To be searched for, of `room.DIMENSIONS`."""
    judged: Vector
    """By the judge's own encoder."""
    reading: Any


class SemanticTier(Generic[Reading]):
    """Encoders, entries, judge and budgets, as one."""

    def __init__(
        self,
        *,
        store: Store,
        writer: Writer,
        ledger: Ledger,
        keeping: Keeping,
        judge: Judge[Reading],
        unpack: Callable[[bytes], Reading],
        local: Embedder,
        remote: Callable[[str], Embedder],
        same: Comparison | None = None,
    ) -> None:
        self._store = store
        self._writer = writer
        self._ledger = ledger
        self._keeping = keeping
        self._judge = judge
        self._unpack = unpack
        self._local = local
        self._remote = remote
        self._same = same or SameAnswer(local)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic")
        self.counts: Counter[str] = Counter()
        """Reasons of findings; ``refused:`` and the guard's word; ``checked``, ``wrong``, ``unchecked``; and entries
        that were ``unreadable``."""
        if local.name != judge.encoder:
            raise ValueError(f"The verifier knows the vectors of {judge.encoder}, not those of {local.name}.")

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(cancel_futures=True)

    async def find(self, question: Question, *, now: datetime, seconds: float) -> Finding:
        """Return what is kept for *question* in other words, within *seconds*."""
        by = asyncio.get_running_loop().time() + seconds
        finding = Finding(question, "long")
        if len(question.text) > MAX_CHARACTERS:
            return self._counted(finding)
        try:
            vectors = await self._vectors(question, by)
            searching = asyncio.create_task(self._search(question, vectors, now, by))
            try:
                finding = await self._read(question, vectors, by)  # while PostgreSQL searches
                finding = await self._found(finding, await searching, by)
            finally:
                searching.cancel()
        except TimeoutError:
            finding = finding._replace(reason="late")
        except SemanticError as failure:
            finding = finding._replace(reason=failure.code)
        return self._counted(finding)

    async def study(self, question: Question, *, seconds: float) -> Finding:
        """Return a finding that can be remembered, for a question that was not looked for, or not in time."""
        finding = Finding(question, "long")
        if len(question.text) > MAX_CHARACTERS:
            return finding
        try:
            by = asyncio.get_running_loop().time() + seconds
            return await self._read(question, await self._vectors(question, by), by)
        except (TimeoutError, SemanticError):
            return finding._replace(reason="late")

    def encoder_name(self, encoder: str | None) -> str:
        """Return which vectors are searched where a policy names *encoder*."""
        return self._local.name if encoder is None else self._remote(encoder).name

    def remember(self, finding: Finding, answer_key: bytes, *, now: datetime, expires_at: datetime) -> None:
        """Have the question found by others from soon on; its answer is kept under *answer_key*."""
        question, sought = finding.question, finding.sought
        if sought is None:
            return
        judged = sought.judged.astype(np.float16).tobytes() if question.encoder else b""
        kept = Kept(question.text, sought.reading.pack(), judged)
        self._writer.remember(
            Entry(
                context=question.context,
                answer_key=answer_key,
                tenant_id=question.tenant_id,
                scope=question.scope,
                model=question.model,
                version=question.version,
                region=cells_of(sought.vector[None])[0],
                created_at=now,
                expires_at=expires_at,
                question=self._keeping.wrap(question.context, answer_key, kept),
                vector=sought.vector,
            )
        )

    async def check(self, finding: Finding, *, stored: str, fresh: str) -> bool | None:
        """Return whether a *stored* answer says what the *fresh* one does, and let the budget know.

        None where that cannot be told now, which the budget takes no notice of.
        """
        assert finding.check is not None, "there is nothing to check"
        try:
            same = await self._same(stored, fresh)
        except SemanticError:
            self.counts["unchecked"] += 1
            return None
        vouched = finding.question.rules.vouches_for(finding.check.score)
        self._budget(finding.question).checked(finding.check.region, wrong=not same, vouched=vouched)
        self.counts["checked"] += 1
        self.counts["wrong"] += not same
        return same

    async def forget(self, finding: Finding, hit: SemanticHit, *, seconds: float) -> None:
        """Take the entry of *hit* out, whose answer is gone; where that fails it expires in its time."""
        self.counts["gone"] += 1
        try:
            await self._store.forget(finding.question.context, hit.answer_key, seconds=seconds)
        except SemanticError as failure:
            logger.debug("An entry without an answer stays: %s", failure)

    def _budget(self, question: Question) -> Budget:
        return self._ledger.budget(question.model, question.version, question.rules)

    def _counted(self, finding: Finding) -> Finding:
        self.counts[finding.reason] += 1
        return finding

    async def _vectors(self, question: Question, by: float) -> _Vectors:
        """Return the question's vectors.

        Raises:
            EncoderBusy, EncoderFailed: there are none.
            TimeoutError: not in time.
        """
        async with asyncio.timeout_at(by):
            judged = await self._local.embed([question.text])
            if question.encoder is None:
                return _Vectors(fit(judged.vectors)[0], judged.vectors[0], judged.tokens)
            embedded = await self._remote(question.encoder).embed([question.text])
            return _Vectors(fit(embedded.vectors)[0], judged.vectors[0], embedded.tokens)

    async def _read(self, question: Question, vectors: _Vectors, by: float) -> Finding:
        """Return a finding that can be remembered.

        Raises:
            TimeoutError: the question is not read in time.
        """
        async with asyncio.timeout_at(by):
            reading = await self._in_thread(self._judge.read, question.text, vectors.judged)
        sought = Sought(vectors.searched, vectors.judged, reading)
        return Finding(question, "none", sought=sought, tokens=vectors.tokens)

    async def _search(
        self, question: Question, vectors: _Vectors, now: datetime, by: float
    ) -> Sequence[Candidate]:
        """Return the nearest entries.

        Raises:
            StoreAway: the store gives none, or not in time.
        """
        left = by - asyncio.get_running_loop().time()
        return await self._store.search(
            question.context, vectors.searched, now=now, limit=CANDIDATES, seconds=max(left, 0.001)
        )

    async def _found(self, finding: Finding, candidates: Sequence[Candidate], by: float) -> Finding:
        """Return the best of the candidates, and what the budget makes of it.

        Raises:
            TimeoutError: they are not judged in time.
        """
        question, sought = finding.question, finding.sought
        assert sought is not None
        hit, reason = None, "none"
        if candidates:
            async with asyncio.timeout_at(by):
                hit, reasons = await self._in_thread(self._best, question.context, sought, candidates)
            reason = "" if hit else reasons[0]  # why the nearest one is none
            self.counts.update("unreadable" for why in reasons if why in UNREADABLE)
        vouched = hit is not None and question.rules.vouches_for(hit.score)
        decision = self._budget(question).decide(hit.region if hit else None, vouched=vouched)
        if decision is None or hit is None:
            return finding._replace(reason=reason)
        return finding._replace(
            reason="hit" if decision.serve else decision.reason,
            hit=hit if decision.serve else None,
            check=hit if decision.check else None,
        )

    def _best(
        self, context: bytes, sought: Sought, candidates: Sequence[Candidate]
    ) -> tuple[SemanticHit | None, list[str]]:
        """Return the nearest candidate of a score that is hardly to be bettered, else the one of the highest.

        And why the others that were looked at are none, the nearest first.
        """
        hits, reasons = [], []
        for candidate in candidates:
            try:
                kept = self._keeping.unwrap(context, candidate.answer_key, candidate.question)
                stored = self._unpack(kept.reading)
            except Foreign:  # a key is missing here, or was taken out
                reasons.append("foreign")
                continue
            except (Damaged, SemanticError):  # another release wrote it
                reasons.append("stale")
                continue
            cosine = _cosine(sought, kept) if kept.judged else candidate.cosine
            verdict = self._judge.judge(sought.reading, stored, cosine)
            if verdict.refused_by is None and verdict.score >= LEAST_SCORE:
                region = region_of(candidate.region, verdict.score)
                hits.append(SemanticHit(candidate.answer_key, candidate.cosine, verdict.score, region))
                if verdict.score >= SURE:
                    break
            else:
                reasons.append(f"refused:{verdict.refused_by}" if verdict.refused_by else "unlike")
        return max(hits, key=lambda hit: hit.score, default=None), reasons

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _cosine(sought: Sought, kept: Kept) -> float:
    return float(sought.judged @ np.frombuffer(kept.judged, np.float16).astype(np.float32))
