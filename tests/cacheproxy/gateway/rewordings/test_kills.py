"""Laws L1 and L2 where calls are answered by meaning: exact and semantic hits, misses and checks, over kills."""

import asyncio
import itertools
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import aiohttp
import msgspec
import pytest

from cacheproxy.cache.codec import AnswerCodec
from cacheproxy.cache.redis import RedisCache
from cacheproxy.gateway.at_rest import at_rest_of
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.recording.wrong_hits import WRONG_HITS
from cacheproxy.redis_link import RedisLink
from cacheproxy.semantic.kept import Keeping
from tests.cacheproxy.gateway.process import GatewayProcess
from tests.cacheproxy.gateway.rewordings import process
from tests.cacheproxy.gateway.rewordings.conftest import PRICES, TRUSTED
from tests.cacheproxy.gateway.world import Answer, Client, World, eventually
from tests.fakes.upstream import FakeUpstream, Received, answer, chat_answer, chat_events, stream
from tests.faults.programs import CHAT, Program, free_port
from tests.stack import models_dir

KINDS = ("talk", "talk", "talk", "stream", "fresh", "fickle", "fickle")
CALLS = 70
KILLS = 3
WORDS = ("do", "can", "could", "would")
CITIES = ("Rome", "Paris", "Vienna", "Lisbon", "Oslo", "Madrid", "Prague", "Dublin", "Athens", "Warsaw")
AMUSED = {"semantic": {"threshold": 0.5, "error_budget": 0.99, "wrong_of_hits": 0.99, "trust": 1000}}
"""A policy that goes on serving hits whatever is proven."""


def told(text: str) -> str:
    """Return what the model says to *text*: of trains the same in all words, of buses something else in each."""
    if found := re.fullmatch(r"What is (\d+) plus (\d+)\?", text):
        return f"It is {int(found[1]) + int(found[2])}."
    found = re.fullmatch(r"How (\w+) I cancel my (train|bus) ticket to (\w+)\?", text)
    assert found is not None, text
    if found[2] == "train":
        return f"Ask the station of {found[3]}."
    return f"It costs {7 + WORDS.index(found[1])} euros to {found[3]}."


async def tell(call: Received, writer: asyncio.StreamWriter) -> None:
    """Answer as `told` says, after a moment."""
    said = told(call.document["messages"][-1]["content"])
    whole = answer(chat_answer(said), delay_seconds=0.003)
    await (stream(*chat_events([said])) if call.document.get("stream") else whole)(call, writer)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Give the model."""
    server = FakeUpstream(tell)
    await server.start()
    yield server
    await server.stop()


class Talker(Program):
    """Asks the same things in several words, and sees to it that every answer is one to what it asked."""

    def __init__(self, client: Client, kind: str, number: int) -> None:
        super().__init__(client, kind, number)
        self.stated: dict[UUID, str] = {}
        """The outcomes of whole answers, as their headers say."""
        self._about = ""

    def _calls(self) -> Iterator[tuple[str, Any, dict[str, str]]]:
        for place in itertools.count(self.number):
            word, city = WORDS[place * 3 % 7 % 4], CITIES[place * 3 % len(CITIES)]
            ticket = "bus" if self.kind == "fickle" else "train"
            text = f"How {word} I cancel my {ticket} ticket to {city}?"
            if self.kind == "fresh":
                text = f"What is {place} plus {2 * place}?"
            self._about = told(text).split()[-1] if self.kind != "fickle" else city
            model = "fickle" if self.kind == "fickle" else "qwen-small"
            question = {"model": model, "messages": [{"role": "user", "content": text}]}
            yield CHAT, question | ({"stream": True} if self.kind == "stream" else {}), {}

    def _is_answered(self, given: Answer) -> bool:
        if not super()._is_answered(given):
            return False
        assert self._about.encode() in given.body, (self._about, given)
        cache_status = given.headers["cache-status"]
        outcome = re.search(r"detail=(\w+)|fwd=(\w+)", cache_status)
        assert outcome is not None, cache_status
        self.stated[UUID(given.headers["x-request-id"])] = outcome[1] or outcome[2]
        return True


async def all_asked_again(client: Client) -> None:
    """Ask everything in words that nobody used: whatever the kills have left, the answers are the right ones."""
    for city in CITIES:
        given = await client.chat(f"How should I cancel my train ticket to {city}?")
        assert given.document["choices"][0]["message"]["content"] == f"Ask the station of {city}.", given


async def drained(redis: Any) -> None:
    """Wait until no proof waits; the lease of a gateway that was killed while it drained ends after 5 seconds."""

    async def is_empty() -> bool:
        return not await redis.xlen(WRONG_HITS.stream)

    await eventually(is_empty, within_seconds=10)


async def entries_with_answers(world: World, settings: GatewaySettings, link: RedisLink) -> int:
    """Return how many questions are kept whose answer is there; each is the answer to that question."""
    keeping, answers = Keeping(at_rest_of(settings)), RedisCache(link, AnswerCodec(at_rest_of(settings)))
    there = 0
    for entry in await world.sql.fetch("SELECT context, answer_key, question FROM cacheproxy_semanticentry"):
        stored = await answers.get(entry["answer_key"], time.time_ns() // 1_000_000)
        if stored is not None:
            assert told(keeping.unwrap(*entry).text).encode() in stored.body
            there += 1
    return there


async def test_l1_l2_semantic_calls_survive_kills(
    gateway_settings: GatewaySettings, world: World, upstream: FakeUpstream, redis: Any, link: RedisLink
) -> None:
    """Each acknowledged call has the one event that its headers stated, and each proof is of one hit, once."""
    for model, policy in (("qwen-small", TRUSTED), ("fickle", AMUSED)):
        await world.add_model(model, f"{upstream.url}/v1", cache=policy)
    plan = await world.add_plan("standard", {"qwen-small": PRICES, "fickle": PRICES}, {"semantic": "80"})
    tenant = await world.add_tenant("acme", plan)
    keys = [await world.add_key(tenant.id) for _ in KINDS]
    settings = msgspec.structs.replace(gateway_settings, models_dir=str(models_dir()))
    gateway = GatewayProcess(settings, free_port(), module=process.__name__)
    await gateway.start()
    async with aiohttp.ClientSession() as session:
        programs = [
            Talker(Client(session, gateway.url, key), kind, number)
            for number, (kind, (_, key)) in enumerate(zip(KINDS, keys, strict=True))
        ]
        running = asyncio.gather(*[program.run(CALLS) for program in programs])
        for kill in range(1, KILLS + 1):
            while sum(len(program.stated) for program in programs) < kill * CALLS * len(KINDS) // (KILLS + 1):
                assert not running.done() or running.result()
                await asyncio.sleep(0.005)
            await gateway.kill()
            await gateway.start()
        await running
        await all_asked_again(Client(session, gateway.url, tenant.key))
    await drained(redis)
    await gateway.stop()
    assert await entries_with_answers(world, gateway_settings, link) > len(CITIES)

    events = {event["event_id"]: event for event in await world.events()}
    for program, (api_key_id, _) in zip(programs, keys, strict=True):
        own = {
            event_id: event["outcome"]
            for event_id, event in events.items()
            if event["api_key_id"] == api_key_id
        }
        assert len(program.stated) == CALLS
        assert program.stated.items() <= own.items(), program.kind
        assert len(own) <= program.sent
    recorded = Counter((event["model"], event["outcome"]) for event in events.values())
    assert {("qwen-small", outcome) for outcome in ("miss", "exact", "semantic")} <= set(recorded)
    sources = {
        event["source_event"] for event in events.values() if event["outcome"] in {"exact", "semantic"}
    }
    assert sources <= set(events)
    assert len(events) <= sum(len(program.stated) for program in programs) + KILLS * len(KINDS) + len(CITIES)
    proofs = await world.sql.fetch("SELECT * FROM metering_wronghit")
    assert len({proof["event_id"] for proof in proofs}) == len(proofs) > 0
    for proof in proofs:
        assert proof["model"] == "fickle"
        hit = events.get(
            proof["event_id"]
        )  # None: killed after it was proven wrong and before it was recorded
        assert hit is None or (hit["outcome"], hit["source_event"]) == ("semantic", proof["source_event"])
    assert await redis.xlen(WRONG_HITS.refused) == 0
