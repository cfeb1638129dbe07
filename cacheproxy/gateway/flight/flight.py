"""The one flow of every metered call: let in, understand, look up; else listen to whoever asks the upstream.

A hit in memory is answered on the spot, without a task of its own. All else is a work, which belongs to the
gateway, not to the client: whoever hangs up, the upstream's answer is read, recorded and kept.
"""

import asyncio

from cacheproxy.cache.tiers import Tiers
from cacheproxy.gateway.admission import Caller, Door
from cacheproxy.gateway.call import Call, ClientGone
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.controls import read_controls
from cacheproxy.gateway.errors import NotCached, Overloaded
from cacheproxy.gateway.flight.coalescing import Coalescing
from cacheproxy.gateway.flight.delivery import Delivery, LeaderFailed
from cacheproxy.gateway.flight.freshness import usable
from cacheproxy.gateway.flight.misses import Misses
from cacheproxy.gateway.flight.refreshing import Refreshing
from cacheproxy.gateway.flight.work import Found, Work
from cacheproxy.gateway.idempotency import HEADER as IDEMPOTENCY_KEY
from cacheproxy.gateway.idempotency import Idempotency
from cacheproxy.gateway.keeping import screened
from cacheproxy.gateway.limits.errors import REFUSALS
from cacheproxy.gateway.understanding import Ask, Understanding

MAX_AT_ONCE_BYTES = 262_144
"""A longer body takes a millisecond or more to understand, and does so in a thread, beside other calls."""
MAX_LEADERS = 3
"""How many calls of others one call listens to before it fails with the last one's problem."""


class Flight:
    """The flow, and the works under way."""

    def __init__(
        self,
        settings: GatewaySettings,
        door: Door,
        tiers: Tiers,
        coalescing: Coalescing,
        misses: Misses,
        delivery: Delivery,
        idempotency: Idempotency,
        refreshing: Refreshing,
    ) -> None:
        self._settings = settings
        self._door = door
        self._understanding = Understanding(door)
        self._tiers = tiers
        self._coalescing = coalescing
        self._misses = misses
        self._delivery = delivery
        self._idempotency = idempotency
        self._refreshing = refreshing
        self._under_way: dict[asyncio.Task[None], Work] = {}

    async def serve(self, call: Call) -> None:
        """Answer one call.

        Raises:
            GatewayError: it is refused, or failed; nothing was sent yet.
            ClientGone: there is nobody to answer.
        """
        ask = call.ask
        if ask is None:
            caller = await self._door.let_in(call.headers, call.now, call.client)
            body = await call.body(self._door.body_limit(caller, self._settings.max_body_bytes))
            if len(body) <= MAX_AT_ONCE_BYTES:
                ask = self._understand(call, caller, body)
            else:
                ask = await asyncio.to_thread(self._understand, call, caller, body)
        if IDEMPOTENCY_KEY in call.headers:
            await self._idempotency.serve_once(ask, self._serve)
        else:
            await self._serve(ask)

    def look(self, call: Call, body: bytes) -> Found | None:
        """Understand *call*, as far as nothing has to be waited for; return what memory has for it, if that is all.

        `serve` goes on from there where this returns None.

        Raises:
            GatewayError: the call is refused; `serve` will say so as well.
        """
        caller = self._door.known(call.headers, call.now, call.client)
        if caller is None or b"content-encoding" in call.headers:
            return None
        limit = self._door.body_limit(caller, self._settings.max_body_bytes)
        if len(body) > min(limit, MAX_AT_ONCE_BYTES):
            return None
        ask = self._understand(call, caller, body)
        if caller.rules is not None or IDEMPOTENCY_KEY in call.headers or ask.facts.pads:
            return None
        return self._remembered(ask)

    def lead(self, ask: Ask) -> Work | None:
        """Begin the work for a plain question that nothing limits or screens; None where `serve` is to answer it."""
        if ask.facts.rules.screen is not None or self._misses.refusals.of(ask) is not None:
            return None
        if (
            ask.facts.pads
            or ask.caller.rules is not None
            or ask.controls.only_if_cached
            or ask.request().stream
        ):
            return None
        if IDEMPOTENCY_KEY in ask.call.headers or len(self._under_way) >= self._settings.max_upstream_calls:
            return None
        return None if self._coalescing.under_way(ask) else self._begin(ask, alone=False)

    def _understand(self, call: Call, caller: Caller, body: bytes) -> Ask:
        ask = call.ask = self._understanding.ask(call, caller, read_controls(call.headers), body)
        return ask

    async def _serve(self, ask: Ask) -> None:
        found = self._remembered(ask)
        if found is not None:
            await self._delivery.hit(ask, found)
        elif ask.controls.only_if_cached:
            await self._give_from_cache_only(ask)
        else:
            await self._listen(ask)

    async def drain(self) -> None:
        """Wait until no work is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def break_off(self) -> None:
        """Read no upstream any further: what was streamed so far is recorded, and that ends the works."""
        for work in self._under_way.values():
            work.break_off()

    def _remembered(self, ask: Ask) -> Found | None:
        """Return the answer that memory has for this call, if it may be given and is young enough."""
        facts, now_ms = ask.facts, ask.call.now_ms
        if facts.key is None or not ask.controls.may_read:
            return None
        answer = self._tiers.memory.get(facts.key, now_ms)
        if answer is None:
            found = self._expired(ask) if ask.stale_seconds else None
        else:
            found = Found(answer, "exact") if ask.is_young_enough(answer, now_ms) else None
        if found is not None and facts.rules.refreshes:
            self._refreshing.consider(ask, found)
        return found

    def _expired(self, ask: Ask) -> Found | None:
        assert ask.facts.key is not None, "a call that may read has one"
        now_ms = ask.call.now_ms
        answer = self._tiers.memory.get_stale(ask.facts.key, now_ms, ask.stale_seconds)
        return None if answer is None else usable(ask, answer, now_ms, "memory")

    async def _give_from_cache_only(self, ask: Ask) -> None:
        if ask.may_read and ask.batch(ask.request()) is not None:  # its items are kept, not the whole
            await self._delivery.attend(self._begin(ask, alone=True), ask)
            return
        found = await self._coalescing.find(ask) if ask.may_read else None
        if found is None and ask.may_read and ask.facts.rules.policy.semantic is not None:
            _, found = await self._misses.rewordings.find(ask, ask.request())
        if found is None:
            raise NotCached
        await self._delivery.hit(ask, found)

    async def _listen(self, ask: Ask) -> None:
        """Listen to the work that answers this question; begin it where there is none.

        Who fails as a leader is replaced by one of those who listened. What cannot be shared, everybody asks for
        alone; and after so many failed leaders, the last one's failure is everybody's.
        """
        if ask.facts.rules.screen is not None:
            ask = await screened(ask)
        if (refusal := self._misses.refusals.of(ask)) is not None:
            return await self._delivery.give(ask, refusal)
        alone = False
        for attempt in range(1, MAX_LEADERS + 1):
            work = (None if alone else self._coalescing.under_way(ask)) or self._begin(ask, alone=alone)
            try:
                return await self._delivery.attend(work, ask)
            except LeaderFailed as failure:
                if ask.call.gone:
                    raise ClientGone from failure  # nobody is left to lead for
                last = attempt == MAX_LEADERS
                alone = failure.problem is None and (failure.result is None or failure.result.status < 300)
                if last and isinstance(failure.problem, REFUSALS):
                    alone = True  # these were the leader's limits; this call has its own
                if last and not alone:
                    return await self._fail(ask, failure)
        return await self._delivery.attend(self._begin(ask, alone=True), ask)

    async def _fail(self, ask: Ask, failure: LeaderFailed) -> None:
        if failure.problem is not None:
            raise failure.problem
        assert failure.result is not None
        await self._delivery.give(ask, failure.result)

    def _begin(self, ask: Ask, *, alone: bool) -> Work:
        if len(self._under_way) >= self._settings.max_upstream_calls:
            raise Overloaded
        limits = ask.caller.limits
        work = Work(ask, ask.request(), drain_seconds=limits.drain_seconds, drain_tokens=limits.drain_tokens)
        if not alone:
            self._coalescing.announce(work)
        task = work.task = asyncio.create_task(self._misses.run(work))
        self._under_way[task] = work
        task.add_done_callback(self._under_way.pop)
        return work
