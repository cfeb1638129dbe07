"""Idempotency-Key: the same call sent again gets the first answer again, and makes no second usage event.

A key belongs to one API key of one tenant. The first call under it makes a claim in Redis before anything else
happens, the same body sent again while that call is under way is told to come back (409, which SDKs retry), and
after its end is given what the first was given. Another body under the same key is refused.

**What a crash may leave behind.** Between the commit of the event (PostgreSQL) and the completion of the claim
(Redis) a process can die, and no order of the two closes the gap. So a claim holds the *id of the event* that its
call will have, and the instant it came, for as long as the key is kept; only the right to work on it is a lease,
renewed while its process lives. Whoever comes after the lease has ended carries the call on under the same event
id: if the first attempt's event was committed, the second's folds into it by the ledger's unique key. Where the
two differ (a model that says something else each time, a price of another kind of outcome), the first event stands
as what is charged, the second is kept in the table of conflicts for an operator to see, and the client, who never
had the first answer, gets the second. One call, one event, one answer.

**What frees a key.** A call that failed and has no event; its client may send a better body under the same key.
Where an event may be recorded nevertheless, or an earlier attempt's may, only the lease is given up.

**Without Redis** such a call is refused before it begins. If Redis goes away in the middle, the answer is given
all the same: the event id is claimed, so a repetition is still not charged twice, but it asks the upstream anew.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

import msgspec

from cacheproxy.cache.at_rest import AtRest, Damaged, Foreign, at_length
from cacheproxy.gateway.call import Call, Header, Message
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.errors import (
    BadRequest,
    EventConflict,
    GatewayError,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    IdempotencyUnavailable,
    IdempotentAnswerNotKept,
    InternalError,
    RecorderUnavailable,
)
from cacheproxy.gateway.telemetry.current import step
from cacheproxy.gateway.understanding import Ask
from cacheproxy.redis_link import RedisAway, RedisLink, RedisRefused, Script

logger = logging.getLogger(__name__)

HEADER = b"idempotency-key"
REPLAYED: Header = (b"idempotent-replayed", b"true")
MAX_KEY_BYTES = 255
ID_HEADERS = frozenset({b"x-request-id", b"request-id"})
"""What a call signs its answer with, the repetition's as well."""
RENEWALS_PER_LEASE = 4
MAY_BE_RECORDED = (RecorderUnavailable, EventConflict, InternalError)
"""Failures after which the call's event may be in the ledger nevertheless."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_BEGIN = Script.of("""
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'digest', 'lease_ms', 'event', 'at', 'head', 'body')
if not known[1] then
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'event', ARGV[2], 'at', ARGV[3],
             'owner', ARGV[4], 'lease_ms', now_ms + ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  return {'new'}
end
if known[1] ~= ARGV[1] then return {'other'} end
if known[5] then return {'done', known[3], known[4], known[5], known[6]} end
if tonumber(known[2]) > now_ms then return {'busy'} end
redis.call('HSET', KEYS[1], 'owner', ARGV[4], 'lease_ms', now_ms + ARGV[5])
return {'again', known[3], known[4]}
""")
_HOLD = Script.of("""
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'lease_ms', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
return 1
""")
_COMPLETE = Script.of("""
if not redis.call('HGET', KEYS[1], 'owner') then return 0 end
redis.call('HSET', KEYS[1], 'head', ARGV[1], 'body', ARGV[2])
redis.call('HDEL', KEYS[1], 'owner', 'lease_ms')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
""")
_FREE = Script.of("""
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


class Head(msgspec.Struct, array_like=True):
    """What a kept answer began with."""

    status: int
    headers: list[Header]
    kept: bool
    """Whether the body is there; too large a one is not."""


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode


class Replay(NamedTuple):
    """An answer that was given before."""

    event_id: UUID
    at: datetime
    head: Head
    body: bytes

    async def give(self, call: Call) -> None:
        """Answer *call* with it, under the first call's request id. A stream comes again as a stream's bytes."""
        call.carry_on(self.event_id, self.at)
        call.ending = "replayed"
        headers = [header for header in self.head.headers if header[0] != b"content-length"]
        await call.answer(self.head.status, [*headers, REPLAYED], self.body)


class Idempotency:
    """The claims of one gateway process, in Redis with everybody else's."""

    def __init__(self, settings: GatewaySettings, link: RedisLink | None, at_rest: AtRest) -> None:
        self.max_answer_bytes = settings.max_idempotent_answer_bytes
        self._link = link
        self._at_rest = at_rest
        self._lease_ms = int(settings.idempotency_lease_seconds * 1000)
        self._keep_ms = settings.idempotency_keep_seconds * 1000

    async def connect(self) -> None:
        """Connect; what cannot be reached is tried again in the background, and calls are refused until then."""
        if self._link is not None:
            with contextlib.suppress(RedisAway):
                await self._link.connect()

    async def serve_once(self, ask: Ask, serve: Callable[[Ask], Awaitable[None]]) -> None:
        """Answer a call that has the header: as it was answered before, or by *serve*.

        Raises:
            GatewayError: what `begin` or *serve* raises.
        """
        begun = await self.begin(ask)
        if isinstance(begun, Replay):
            await begun.give(ask.call)
            return
        ask.call.carry_on(begun.event_id, begun.at, taken_over=begun.taken_over)
        ask.call.tape = begun
        try:
            await serve(ask)
        except GatewayError as problem:
            if not isinstance(problem, MAY_BE_RECORDED):
                await begun.abandon()
            raise
        finally:
            await begun.lapse()

    async def begin(self, ask: Ask) -> "Replay | Claim":
        """Claim the call's key, or return the answer that was given under it.

        Raises:
            BadRequest: the key is empty, too long or not printable ASCII.
            IdempotencyKeyReused: it was used with another body, surface or path.
            IdempotencyKeyInUse: the first call under it is still under way.
            IdempotentAnswerNotKept: the first answer was too large to be kept, or cannot be read any more.
            IdempotencyUnavailable: Redis does not say.
        """
        call, access, owner = ask.call, ask.caller.access, secrets.token_bytes(8)
        key = _checked(call.headers[HEADER])
        name = b"zerorate:{t%d}:once:%d:%b" % (
            access.tenant_id,
            access.api_key_id,
            sha256(key).hexdigest().encode(),
        )
        digest = _digest(ask.dialect.surface.encode(), call.path.encode(), ask.body)
        at_us = (call.now - _EPOCH) // _MICROSECOND
        try:
            said, *known = await self._run(
                _BEGIN, name, digest, call.event_id.bytes, at_us, owner, self._lease_ms, self._keep_ms
            )
        except (RedisAway, RedisRefused) as failure:
            raise IdempotencyUnavailable from failure
        if said == b"other":
            raise IdempotencyKeyReused
        if said == b"busy":
            raise IdempotencyKeyInUse
        if said == b"new":
            return Claim(self, name, owner, call.event_id, call.now, taken_over=False)
        event_id, at = UUID(bytes=known[0]), _EPOCH + int(known[1]) * _MICROSECOND
        if said == b"again":
            return Claim(self, name, owner, event_id, at, taken_over=True)
        try:
            kept = await at_length(len(known[3]), partial(self._unwrapped, name, known[2], known[3]))
        except (Foreign, Damaged) as problem:
            raise IdempotentAnswerNotKept(self.max_answer_bytes) from problem
        if not kept[0].kept:
            raise IdempotentAnswerNotKept(self.max_answer_bytes)
        return Replay(event_id, at, *kept)

    async def hold(self, name: bytes, owner: bytes) -> None:
        """Renew the lease, as often as it takes, until cancelled."""
        while True:
            await asyncio.sleep(self._lease_ms / 1000 / RENEWALS_PER_LEASE)
            with contextlib.suppress(RedisAway, RedisRefused):  # the next renewal may still be in time
                await self._run(_HOLD, name, owner, self._lease_ms)

    async def complete(self, name: bytes, head: Head, body: bytes) -> None:
        """Keep an answer. The first that comes is kept, whoever owns the claim by now."""
        wrapped = await at_length(len(body), partial(self._wrapped, name, head, body))
        await self._run(_COMPLETE, name, *wrapped, self._keep_ms)

    def _wrapped(self, name: bytes, head: Head, body: bytes) -> tuple[bytes, bytes]:
        """Return both as they are kept: neither can be taken for that of another claim, or for the other."""
        wrap = self._at_rest.wrap
        return wrap(name, b"head", _encode(head)), wrap(name, b"body", body)

    def _unwrapped(self, name: bytes, head: bytes, body: bytes) -> tuple[Head, bytes]:
        """Return what was kept.

        Raises:
            Foreign, Damaged: it cannot be read.
        """
        unwrap = self._at_rest.unwrap
        return _decode_head(unwrap(name, b"head", head)), unwrap(name, b"body", body)

    async def free(self, name: bytes, owner: bytes) -> None:
        """Forget the claim, where *owner* still has it."""
        await self._run(_FREE, name, owner)

    async def let_go(self, name: bytes, owner: bytes) -> None:
        """End the lease, where *owner* still has it."""
        await self._run(_HOLD, name, owner, 0)

    async def _run(self, script: Script, name: bytes, *arguments: bytes | int) -> list[bytes]:
        if self._link is None:
            raise RedisAway("there is no Redis")
        reply: list[bytes] = await self._link.run(script, [name], *arguments)
        return reply


class Claim:
    """The right to answer one call, and what is sent to it on the way. It is settled once, in one of three ways."""

    def __init__(
        self, book: Idempotency, name: bytes, owner: bytes, event_id: UUID, at: datetime, *, taken_over: bool
    ) -> None:
        self.event_id = event_id
        """The id of the call's event, from its first attempt on."""
        self.at = at
        self.taken_over = taken_over
        """Whether an earlier attempt may have recorded the event already."""
        self._book = book
        self._name = name
        self._owner = owner
        self._status = 0
        self._headers: list[Header] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._renewal = asyncio.create_task(book.hold(name, owner))
        self._settled = False

    async def take(self, message: Message) -> None:
        """Take note of what is sent; before the last byte leaves, the claim is completed, or freed by a failure."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [header for header in message["headers"] if header[0] not in ID_HEADERS]
            return
        part: bytes = message["body"]
        self._size += len(part)
        if self._size <= self._book.max_answer_bytes:
            self._parts.append(part)
        if message.get("more_body"):
            return
        if 200 <= self._status < 300:
            await self.complete(self._status, self._headers, b"".join(self._parts))
        else:
            await self.abandon()

    async def break_off(self, problem: GatewayError, *, charged: bool) -> None:
        """Free the key of a stream that breaks off uncharged. One that was charged for is kept as it was."""
        if isinstance(problem, MAY_BE_RECORDED):
            await self.lapse()
        elif not charged:
            await self.abandon()

    async def complete(self, status: int, headers: list[Header], body: bytes) -> None:
        """Keep the answer for whoever sends the call again. Await it after the event's commit, before the last byte."""
        kept = self._size <= self._book.max_answer_bytes
        head = Head(status, headers, kept)
        await self._settle(lambda: self._book.complete(self._name, head, body if kept else b""))

    async def abandon(self) -> None:
        """Free the key: the call failed and has no event. An earlier attempt's event is not forgotten by that."""
        if self.taken_over:
            await self.lapse()
        else:
            await self._settle(lambda: self._book.free(self._name, self._owner))

    async def lapse(self) -> None:
        """Let a repetition carry the call on at once, under the same event id: its event may be recorded."""
        await self._settle(lambda: self._book.let_go(self._name, self._owner))

    async def _settle(self, end: Callable[[], Awaitable[None]]) -> None:
        if self._settled:
            return
        self._settled = True
        self._renewal.cancel()
        try:
            await end()
        except (RedisAway, RedisRefused) as failure:
            logger.warning("What became of the call %s could not be kept: %s", self.event_id, failure)


def recorded(call: Call, recording: Awaitable[None]) -> Awaitable[None]:
    """Return *recording*; of a call that was taken over it is fulfilled by the event that the first attempt left."""
    return step(call, "commit", _folded(recording) if call.taken_over else recording)


async def _folded(recording: Awaitable[None]) -> None:
    with contextlib.suppress(EventConflict):
        await recording


def _checked(key: bytes) -> bytes:
    if not 0 < len(key) <= MAX_KEY_BYTES or not all(0x20 <= byte <= 0x7E for byte in key):
        raise BadRequest(
            f"Idempotency-Key takes 1 to {MAX_KEY_BYTES} printable ASCII characters.", code="invalid_header"
        )
    return key


def _digest(*parts: bytes) -> bytes:
    return sha256(b"".join([len(part).to_bytes(8) + part for part in parts])).digest()
