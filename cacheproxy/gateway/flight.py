"""The one flow of every metered call: let in, understand, look up; on a miss ask the upstream; record, answer.

A hit is answered on the spot, without a task of its own. A miss is worked on in a task that belongs to the
gateway, not to the client: whoever hangs up, the upstream's answer is read, recorded and kept.
"""

import asyncio
import logging

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.tiers import Tiers
from cacheproxy.gateway.admission import Door
from cacheproxy.gateway.call import Call, Header
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.controls import read_controls
from cacheproxy.gateway.errors import NotCached, Overloaded
from cacheproxy.gateway.event import usage_event
from cacheproxy.gateway.misses import Misses
from cacheproxy.gateway.recorder import Recorder
from cacheproxy.gateway.tariff import Tariff
from cacheproxy.gateway.understanding import Ask, Understanding
from cacheproxy.protocols.request import JSON, Answer

logger = logging.getLogger(__name__)


class Flight:
    """The flow, and the misses under way."""

    def __init__(
        self, settings: GatewaySettings, door: Door, tiers: Tiers, recorder: Recorder, misses: Misses
    ) -> None:
        self._settings = settings
        self._door = door
        self._understanding = Understanding(door)
        self._tiers = tiers
        self._recorder = recorder
        self._misses = misses
        self._under_way: set[asyncio.Task[None]] = set()

    async def serve(self, call: Call) -> None:
        """Answer one call.

        Raises:
            GatewayError: it is refused, or failed; nothing was sent yet.
            ClientGone: there is nobody to answer.
        """
        caller = await self._door.let_in(call.headers, call.now)
        controls = read_controls(call.headers)
        body = await call.body(self._settings.max_body_bytes)
        ask = self._understanding.ask(call, caller, controls, body)
        stored = await self._stored(ask)
        if stored is not None:
            await self._give(ask, stored)
        elif controls.only_if_cached:
            raise NotCached
        else:
            await self._ask_upstream(ask)

    async def drain(self) -> None:
        """Wait until no miss is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _stored(self, ask: Ask) -> StoredAnswer | None:
        """Return the answer that the cache has for this call, if it may be given and is young enough."""
        key = ask.facts.key
        if key is None or not ask.controls.may_read:
            return None
        now_ms = ask.call.now_ms
        answer = self._tiers.memory.get(key, now_ms) or await self._tiers.fetch(key, now_ms)
        max_age_seconds = ask.controls.max_age_seconds
        if answer is None or (max_age_seconds is not None and _age_seconds(answer, now_ms) > max_age_seconds):
            return None
        return answer

    async def _give(self, ask: Ask, stored: StoredAnswer) -> None:
        """Answer from the cache, once the hit's event is durable."""
        call = ask.call
        event = usage_event(ask, stored, outcome="exact", status=200, source_event=stored.source_event)
        await self._recorder.record(event)
        answer = Answer((JSON,), stored.body)
        if not ask.facts.as_kept:
            answer = ask.dialect.give(ask.request(), answer)
        ttl_seconds = (stored.expires_at_ms - call.now_ms) // 1000
        headers: list[Header] = [
            *answer.headers,
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-status", b"zerorate; hit; ttl=%d; detail=exact" % ttl_seconds),
            (b"age", b"%d" % _age_seconds(stored, call.now_ms)),
            *_lasting_headers(stored, ask.tariff),
        ]
        await call.answer(200, headers, answer.body)

    async def _ask_upstream(self, ask: Ask) -> None:
        if len(self._under_way) >= self._settings.max_upstream_calls:
            raise Overloaded
        task = asyncio.create_task(self._misses.serve(ask))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.shield(task)


def _age_seconds(stored: StoredAnswer, now_ms: int) -> int:
    return max(0, now_ms - stored.stored_at_ms) // 1000


def _lasting_headers(stored: StoredAnswer, tariff: Tariff) -> list[Header]:
    """Return the headers of a hit that stay the same until a price changes; worked out once per answer and tariff."""
    if stored.memo is None or stored.memo[0] is not tariff:
        source = (b"x-zerorate-source", str(stored.source_event).encode())
        stored.memo = tariff, [source, *tariff.cost_headers("exact", stored.pools, stored.units)]
    headers: list[Header] = stored.memo[1]
    return headers
