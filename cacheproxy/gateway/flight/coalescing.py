"""Single flight: N identical calls under way make one upstream call.

Within a process, whoever asks what is being asked already listens to that work. Between processes the first of
each process meets the others' at Redis (`rendezvous.py`): one of them leads, the rest follow it for the calls
that listen to them.
"""

import asyncio
import time
from collections.abc import Callable

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.redis import RedisCache
from cacheproxy.cache.tiers import Tiers
from cacheproxy.gateway.flight.freshness import usable
from cacheproxy.gateway.flight.rendezvous import (
    POLL_SECONDS,
    Chunk,
    Claim,
    Done,
    Holder,
    Message,
    Over,
    Rendezvous,
)
from cacheproxy.gateway.flight.work import Found, Led, Result, Work
from cacheproxy.gateway.understanding import Ask
from cacheproxy.gateway.upstreams.errors import UpstreamBroken
from cacheproxy.redis_link import RedisAway, RedisRefused

Tell = Callable[[Message], None]
PAUSE_SECONDS = 0.005
"""Before a gateway that had no answer is asked again, or its place is taken."""


class Coalescing:
    """The works under way by their flights' names, and those of other gateways who listen to them."""

    def __init__(self, tiers: Tiers, rendezvous: Rendezvous | None, *, follow_seconds: float) -> None:
        self._tiers = tiers
        self._rendezvous = rendezvous
        self._follow_seconds = follow_seconds
        self._works: dict[bytes, Work] = {}
        self._afar: dict[bytes, dict[bytes, Tell]] = {}

    async def start(self) -> None:
        """Begin to hear other gateways."""
        if self._rendezvous is not None:
            await self._rendezvous.start(self._welcome)

    async def stop(self) -> None:
        """Stop hearing them."""
        if self._rendezvous is not None:
            await self._rendezvous.stop()

    def under_way(self, ask: Ask) -> Work | None:
        """Return the work that *ask* may listen to: none that began before an invalidation that may concern it."""
        name = ask.facts.flight
        if name is None or not ask.may_share:
            return None
        work = self._works.get(name)
        return None if work is None or work.result.done() or work.leader.facts.era.is_over else work

    def announce(self, work: Work) -> None:
        """Let others listen to *work*, where its leader's call may be shared."""
        name = work.leader.facts.flight
        if name is not None and work.leader.may_share:
            self._works[name] = work
            work.shared = True

    async def meet(self, work: Work) -> Found | None:
        """Return what other gateways have for *work*: a stored answer, or the one that they are at; None to lead.

        Raises:
            UpstreamBroken: the gateway that led broke off after its answer had begun.
        """
        ask = work.leader
        if not ask.may_read:
            return None
        if self._rendezvous is None or not work.shared:
            return await self.find(ask)
        give_up_at = time.monotonic() + self._follow_seconds
        while time.monotonic() < give_up_at:
            claim = await self._claim(self._rendezvous, work)
            given = usable(ask, claim.answer, _now_ms(), "redis") if claim.answer is not None else None
            if given is not None:
                return given
            if claim.holder is None:
                break
            found = await self._follow(self._rendezvous, work, claim.holder)
            if found is not None:
                return found
            await asyncio.sleep(PAUSE_SECONDS)
        work.remote, work.source_event = False, ask.call.event_id
        return None

    async def settle(self, work: Work) -> None:
        """Tell the others what became of *work*: first the answer, then that the key is free."""
        ask = work.leader
        name = ask.facts.flight
        result = None if work.result.exception() else work.result.result()
        stored = result.stored if result is not None and not _is_reworded(result) else None
        if isinstance(result, Led) and self._tiers.redis is not None:
            keeping = [self._keep(self._tiers.redis, work, *item) for item in result.kept]
            await (keeping[0] if len(keeping) == 1 else asyncio.gather(*keeping))
        if name is None or not work.shared:
            return
        if self._works.get(name) is work:
            del self._works[name]
            if name in self._afar:
                await self._tell_afar(name, stored)
        if self._rendezvous is not None:
            self._rendezvous.release(name, ask.call.event_id)

    async def _tell_afar(self, name: bytes, stored: StoredAnswer | None) -> None:
        """Tell the gateways that listen to the flight *name* what came of it."""
        assert self._rendezvous is not None, "they came by it"
        listeners = self._afar.pop(name)
        message = Over(name) if stored is None else await self._rendezvous.done(name, stored)
        for tell in listeners.values():
            tell(message)

    async def _keep(self, redis: RedisCache, work: Work, key: bytes, answer: StoredAnswer) -> None:
        ask, name = work.leader, work.leader.facts.flight
        if self._rendezvous is None or key != ask.facts.key or name is None or not work.shared:
            await redis.put(key, answer, _now_ms())
            return
        try:
            await self._rendezvous.keep(name, ask.call.event_id, answer, _now_ms())
        except (RedisAway, RedisRefused) as failure:
            redis.failed(failure)
        else:
            redis.recovered()

    async def find(self, ask: Ask) -> Found | None:
        """Return what the shared cache has for *ask*, without asking anybody to work."""
        assert ask.facts.key is not None
        stored = await self._tiers.fetch(ask.facts.key, ask.call.now_ms, ask.stale_seconds)
        return None if stored is None else usable(ask, stored, ask.call.now_ms, "redis")

    async def _claim(self, rendezvous: Rendezvous, work: Work) -> Claim:
        """Return the claim's result; without Redis there is nobody to meet.

        For a work that replaces an answer, only one that outlives it is any.
        """
        ask, old = work.leader, work.replaces
        key, name = ask.facts.key, ask.facts.flight
        now_ms = max(_now_ms(), old.expires_at_ms if old is not None else 0)
        assert key is not None
        assert name is not None
        try:
            claim = await rendezvous.claim(name, ask.call.event_id, now_ms)
        except (RedisAway, RedisRefused) as failure:
            if self._tiers.redis is not None:
                self._tiers.redis.failed(failure)
            return Claim()
        if claim.answer is None or (old is not None and claim.answer.expires_at_ms <= now_ms):
            return Claim(None, claim.holder)
        self._tiers.memory.put(key, claim.answer)
        return claim

    async def _follow(self, rendezvous: Rendezvous, work: Work, holder: Holder) -> Found | None:
        """Listen to another gateway for as long as it holds the key; None where it did not come to an answer.

        Raises:
            UpstreamBroken: it broke off after the answer had begun.
        """
        key, name = work.leader.facts.key, work.leader.facts.flight
        assert key is not None
        assert name is not None
        work.remote, work.source_event = True, holder.event_id
        async with rendezvous.following(name, holder) as messages:
            while True:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        message = await messages.get()
                except TimeoutError:
                    if (await self._claim(rendezvous, work)).holder == holder:
                        continue
                    break
                if isinstance(message, Done) and (stored := await rendezvous.received(message)) is not None:
                    self._tiers.memory.put(key, stored)
                    if work.begun and not work.ended:
                        break  # its last chunks were lost on the way
                    if not work.begun and work.leader.has_ended(stored):
                        break
                    return Found(stored, "coalesced")
                if not (isinstance(message, Chunk) and _take(work, message)):
                    break
        if work.begun:
            raise UpstreamBroken
        return None

    def _welcome(self, name: bytes, who: bytes, tell: Tell) -> None:
        """Answer another gateway that asks for a flight: what there is so far, and from now on what comes."""
        work = self._works.get(name)
        if work is None or work.remote or work.leader.facts.era.is_over:
            if work is not None and self._rendezvous is not None:
                self._rendezvous.release(name, work.leader.call.event_id)
            tell(Over(name))
            return
        for number, part in enumerate(work.chunks):
            tell(Chunk(name, number, part, work.head or ()))
        listeners = self._afar.setdefault(name, {})
        listeners[who] = tell

        def pass_on(part: bytes) -> None:
            message = Chunk(name, len(work.chunks) - 1, part, work.head or ())
            for tell in listeners.values():
                tell(message)

        work.on_chunk = pass_on


def _is_reworded(result: Result) -> bool:
    """Return whether it is a semantic hit, which each gateway finds by itself: it is kept under no key of its own."""
    return isinstance(result, Found) and result.how == "semantic"


def _take(work: Work, message: Chunk) -> bool:
    """Take in a chunk from afar; return whether none is missing."""
    if work.reader is None or message.number < len(work.chunks):
        return True
    if message.number > len(work.chunks):
        return False
    work.begin(message.head)
    work.feed(message.part)
    return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
