"""A question is found in other words, served as its budget allows, and remembered."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from cacheproxy.cache.at_rest import AtRest
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.semantic.budget.ledger import Ledger
from cacheproxy.semantic.budget.rules import Rules
from cacheproxy.semantic.embedding import Embedded, Free, Remembering
from cacheproxy.semantic.errors import EncoderFailed
from cacheproxy.semantic.finding import Finding, Question
from cacheproxy.semantic.kept import Keeping, Kept
from cacheproxy.semantic.minilm.encoder import LocalEncoder
from cacheproxy.semantic.store import Store
from cacheproxy.semantic.tier import SemanticTier
from cacheproxy.semantic.writer import Writer
from tests.cacheproxy.gateway.world import eventually
from tests.cacheproxy.semantic.entries import ACME, HOUR, NOW, STRANGER
from tests.cacheproxy.semantic.judge import WordJudge, unpack

ASKED = "How do I cancel my train ticket?"
REWORDED = "How can I cancel my train ticket?"
TRAP = "How do I cancel 2 train tickets?"
ALWAYS = Rules(least_check_rate=0.999)


class Bags:
    """A remote encoder: which letters occur, for three tokens a text."""

    name = "bags@1"

    def __init__(self) -> None:
        self.failing = False
        self.slow_seconds = 0.0

    async def embed(self, texts: Sequence[str]) -> Embedded:
        await asyncio.sleep(self.slow_seconds)
        if self.failing:
            raise EncoderFailed("no")
        vectors = np.array(
            [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32
        )
        return Embedded(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 3 * len(texts))


class Tiers:
    """A tier and what it stands on."""

    def __init__(self, settings: GatewaySettings, encoder: LocalEncoder, store: Store) -> None:
        self.writer = Writer(store)
        self.ledger = Ledger(settings, lambda: NOW, draw=random.Random(1))
        self.judge = WordJudge(encoder.name)
        self.bags = Bags()
        remote = Remembering(self.bags)
        self.tier = SemanticTier(
            store=store, writer=self.writer, ledger=self.ledger, keeping=Keeping(AtRest()),
            judge=self.judge, unpack=unpack, local=Free(encoder), remote=lambda _name: remote,
        )  # fmt: skip

    async def find(self, text: str, *, seconds: float = 5, **changes: Any) -> Finding:
        question = Question(text, ACME, 1, b"scope", "qwen-small", "1", Rules())._replace(**changes)
        return await self.tier.find(question, now=NOW, seconds=seconds)

    async def keep(self, text: str, name: str = "one", **changes: Any) -> None:
        """Remember *text*, and wait until it is found."""
        finding = await self.find(text, **changes)
        self.tier.remember(finding, f"k1:{name}".encode(), now=NOW, expires_at=NOW + HOUR)

        async def written() -> bool:
            return not self.writer._waiting

        await eventually(written, within_seconds=10)
        self.tier.counts.clear()


@pytest.fixture
async def tiers(
    settings: GatewaySettings, quantised_encoder: LocalEncoder, store: Store, sql: Any
) -> AsyncIterator[Tiers]:
    """Give a tier over a database without entries."""
    await sql.execute("TRUNCATE cacheproxy_semanticbudget")
    tiers = Tiers(settings, quantised_encoder, store)
    await tiers.writer.start()
    yield tiers
    await tiers.writer.stop()
    tiers.tier.close()


async def test_a_rewording_is_a_hit(tiers: Tiers) -> None:
    await tiers.keep(ASKED)
    finding = await tiers.find(REWORDED)
    assert finding.reason == "hit"
    assert finding.hit is not None
    assert finding.hit.answer_key == b"k1:one"
    assert 0.9 < finding.hit.similarity < 1
    assert finding.raw_usage == {}
    assert tiers.tier.counts == {"hit": 1}


async def test_another_context_a_trap_and_another_subject_are_none(tiers: Tiers) -> None:
    await tiers.keep(ASKED)
    assert (await tiers.find(REWORDED, context=STRANGER)).reason == "none"
    assert (await tiers.find(TRAP)).reason == "refused:number"
    assert (await tiers.find("Who painted the Mona Lisa?")).reason == "unlike"
    assert (await tiers.find("a" * 5000)).reason == "long"
    assert all(not finding.hit and not finding.check for finding in [await tiers.find(TRAP)])


async def test_an_entry_is_over_when_its_answer_is(tiers: Tiers) -> None:
    await tiers.keep(ASKED)
    question = (await tiers.find(REWORDED)).question
    late = await tiers.tier.find(question, now=NOW + HOUR + timedelta(seconds=1), seconds=5)
    assert late.reason == "none"


async def test_wrong_answers_close_the_region_and_its_candidates_go_on_being_compared(tiers: Tiers) -> None:
    await tiers.keep(ASKED)
    wrong = 0
    while (finding := await tiers.find(REWORDED, rules=ALWAYS)).hit is not None:
        assert finding.check == finding.hit
        assert await tiers.tier.check(finding, stored="Yes, online.", fresh="Bananas are yellow.") is False
        wrong += 1
        assert wrong < 5
    assert finding.reason == "closed"
    assert finding.check is not None
    assert await tiers.tier.check(finding, stored="Yes, online.", fresh="yes online") is True
    assert (tiers.tier.counts["checked"], tiers.tier.counts["wrong"]) == (wrong + 1, wrong)


async def test_without_trust_a_candidate_is_only_compared(tiers: Tiers) -> None:
    await tiers.keep(ASKED)
    finding = await tiers.find(REWORDED, rules=Rules(trust=0))
    assert (finding.reason, finding.hit) == ("shut", None)
    assert finding.check is not None


async def test_a_remote_encoder_finds_and_its_tokens_are_told_once(tiers: Tiers) -> None:
    await tiers.keep(ASKED, encoder="bags")
    finding = await tiers.find(REWORDED, encoder="bags")
    assert finding.reason == "hit"
    assert finding.raw_usage == {"embedding": {"model": "bags", "tokens": 3}}
    assert (await tiers.find(REWORDED, encoder="bags")).raw_usage == {}
    assert finding.hit is not None
    assert tiers.judge.cosines[-1] != pytest.approx(
        finding.hit.similarity, abs=1e-3
    )  # but the local encoder's


async def test_an_encoder_that_fails_or_is_slow_is_a_miss_in_time(tiers: Tiers) -> None:
    tiers.bags.failing = True
    assert (await tiers.find("Who?", encoder="bags")).reason == "encoder_failed"
    tiers.bags.failing, tiers.bags.slow_seconds = False, 5.0
    started = time.monotonic()
    finding = await tiers.find("Where?", encoder="bags", seconds=0.05)
    assert time.monotonic() - started < 1
    assert finding.reason == "late"
    tiers.tier.remember(finding, b"k1:none", now=NOW, expires_at=NOW + HOUR)
    assert not tiers.writer._waiting


async def test_a_store_that_is_away_is_a_miss_that_can_still_be_remembered(
    settings: GatewaySettings, quantised_encoder: LocalEncoder
) -> None:
    nowhere = msgspec.structs.replace(settings, database_url="postgresql://nobody@127.0.0.1:1/nothing")
    store = Store(nowhere)
    await store.start()
    tiers = Tiers(nowhere, quantised_encoder, store)
    finding = await tiers.find(ASKED)
    assert finding.reason == "semantic_store_away"
    assert finding.sought is not None
    await store.stop()
    tiers.tier.close()


async def test_what_another_release_wrote_is_passed_over(tiers: Tiers, sql: Any) -> None:
    await tiers.keep(ASKED)
    await sql.execute("UPDATE cacheproxy_semanticentry SET question = 'no message'")
    assert (await tiers.find(REWORDED)).reason == "stale"
    old = Keeping(AtRest()).wrap(ACME, b"k1:one", Kept(ASKED, b"old", b""))
    await sql.execute("UPDATE cacheproxy_semanticentry SET question = $1", old)
    assert (await tiers.find(REWORDED)).reason == "stale"
    assert tiers.tier.counts["unreadable"] == 2


async def test_an_answer_that_is_gone_takes_its_entry_with_it(tiers: Tiers) -> None:
    await tiers.keep(ASKED)
    finding = await tiers.find(REWORDED)
    assert finding.hit is not None
    await tiers.tier.forget(finding, finding.hit, seconds=5)
    assert (await tiers.find(REWORDED)).reason == "none"


async def test_the_judge_must_know_the_encoder(settings: GatewaySettings, store: Store) -> None:
    bags = Bags()
    with pytest.raises(ValueError, match="knows the vectors of minilm, not those of bags@1"):
        SemanticTier(
            store=store, writer=Writer(store), ledger=Ledger(settings, lambda: NOW),
            keeping=Keeping(AtRest()), judge=WordJudge("minilm"),
            unpack=unpack, local=bags, remote=lambda _name: bags,
        )  # fmt: skip
