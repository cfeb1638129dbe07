"""Where gateways meet, so that identical calls in flight make one upstream call wherever they came in.

Whoever finds no answer in Redis takes the key's lease in the same step; whoever finds the lease taken asks its
holder, by publish and subscribe, to be told what comes: the chunks of a stream so far and as they come, then the
answer. A holder renews its leases while it works. If it dies they run out, and whoever asks next takes over.
Nothing depends on a message arriving: who waits also asks again, every ``POLL_SECONDS``.

Redis being away costs no call anything but this: every gateway then works for itself.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.cache.codec import AnswerCodec
from cacheproxy.cache.key import KEY_BYTES
from cacheproxy.cache.redis import answer_name
from cacheproxy.gateway.tasks import end
from cacheproxy.redis_ear import listen
from cacheproxy.redis_link import RedisAway, RedisLink, RedisRefused, Script
from cacheproxy.redis_places import places_at

logger = logging.getLogger(__name__)

LEASE_MS = 3_000
RENEW_SECONDS = 1.0
POLL_SECONDS = 0.25
HEAD_BYTES = 32
"""Of a stored value: its checksum and times are in it, so that no other value begins like this."""
_CHANNEL = b"zerorate:gateway:"

_CLAIM = Script.of("""
local answer, holder = redis.pcall('GET', KEYS[1]), redis.pcall('GET', KEYS[2])
if type(answer) == 'table' then answer = false end
if type(holder) == 'table' then holder = false end
if holder and holder:sub(1, #ARGV[4]) == ARGV[4] then holder = false end
if not holder then
    local fresh = answer and #answer >= 24 and answer:sub(1, 4) == 'zra5'
        and struct.unpack('>i8', answer, 17) > tonumber(ARGV[3])
        and (ARGV[5] == '' or answer:sub(1, #ARGV[5]) ~= ARGV[5])
    if not fresh then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
end
return {answer, holder}
""")
_RENEW = Script.of("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
""")
_KEEP = Script.of("""
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
""")
_RELEASE = Script.of("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")


class Claim(NamedTuple):
    """What Redis said of a key. Without answer and holder, it is ours to lead."""

    answer: StoredAnswer | None = None
    holder: "Holder | None" = None


class Holder(NamedTuple):
    """Who works on a key: a gateway, and the event that will pay for the answer."""

    gateway: bytes
    event_id: UUID

    def to_bytes(self) -> bytes:
        """Return what stands under the lease."""
        return self.gateway + self.event_id.bytes

    @classmethod
    def from_bytes(cls, value: bytes) -> "Holder":
        """Return the holder that stands under a lease.

        Raises:
            ValueError: it is none.
        """
        return cls(value[:-16], UUID(bytes=value[-16:]))


class Join(msgspec.Struct, tag=True):
    """Tell me what comes of this flight."""

    flight: bytes
    reply_to: bytes


class Chunk(msgspec.Struct, tag=True):
    """A part of a stream; `head` is what the stream began with."""

    flight: bytes
    number: int
    part: bytes
    head: tuple[tuple[bytes, bytes], ...]


class Done(msgspec.Struct, tag=True):
    """The whole answer."""

    flight: bytes
    answer: bytes


class Over(msgspec.Struct, tag=True):
    """There will be none from here: it failed, or is over already. Ask again."""

    flight: bytes


Message = Join | Chunk | Done | Over
OnJoin = Callable[[bytes, bytes, Callable[[Message], None]], None]
"""Called with the flight, the name of the gateway that asks for it, and the way to tell it."""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class Rendezvous:
    """One gateway's leases, and its ear and voice among the others."""

    def __init__(self, link: RedisLink, redis_url: str, codec: AnswerCodec) -> None:
        self._link = link
        self._codec = codec
        self._places = places_at(redis_url)
        self._name = secrets.token_hex(8).encode()
        self._held: dict[bytes, Holder] = {}
        self._following: dict[bytes, list[asyncio.Queue[Message]]] = {}
        self._on_join: OnJoin | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, on_join: OnJoin) -> None:
        """Begin to listen and to renew. *on_join* answers gateways that ask."""
        self._on_join = on_join
        ear = listen(self._places, _CHANNEL + self._name, self._hear)
        self._tasks = [asyncio.create_task(ear), asyncio.create_task(self._renew())]

    async def stop(self) -> None:
        """Stop both; leases that are still held run out by themselves."""
        for task in self._tasks:
            await end(task)

    async def claim(self, flight: bytes, event_id: UUID, now_ms: int) -> Claim:
        """Return the fresh or stale answer that *flight* is for, or who works on it; else the lease is ours.

        A lease that an earlier work of this process has yet to let go is taken over. So is the place of an answer
        that cannot be read here: damaged, or sealed with a key that this gateway does not have.

        Raises:
            RedisAway, RedisRefused: nobody knows.
        """
        ours = Holder(self._name, event_id)
        value, holder = await self._ask(flight, ours, now_ms)
        answer = await self._codec.read(_key(flight), value) if value is not None else None
        if value is not None and answer is None and holder is None:
            _, holder = await self._ask(flight, ours, now_ms, in_vain=value[:HEAD_BYTES])
        if holder is None:
            if answer is None or answer.expires_at_ms <= now_ms:
                self._held[flight] = ours
            return Claim(answer)
        try:
            return Claim(answer, Holder.from_bytes(holder))
        except ValueError as problem:
            raise RedisRefused("a lease is not as any gateway writes it") from problem

    async def _ask(
        self, flight: bytes, ours: "Holder", now_ms: int, *, in_vain: bytes = b""
    ) -> tuple[bytes | None, bytes | None]:
        """Return the value kept, and the flight's holder where that is not us; a value read *in_vain* is no answer."""
        names = [answer_name(_key(flight)), _lease(flight)]
        match await self._link.run(_CLAIM, names, ours.to_bytes(), LEASE_MS, now_ms, self._name, in_vain):
            case [(bytes() | None) as value, (bytes() | None) as holder]:
                return value, holder
        raise RedisRefused("a script's reply is not as the script gives it")

    async def keep(self, flight: bytes, event_id: UUID, answer: StoredAnswer, now_ms: int) -> None:
        """Store the answer that the lease was for and let the lease go, in one step; nothing if it is too large.

        Raises:
            RedisAway, RedisRefused: it may not be stored; the lease is not renewed any more.
        """
        if not self._codec.takes(answer):
            return
        key = _key(flight)
        value = await self._codec.write(key, answer)
        lifetime_ms = max(1, answer.kept_until_ms - now_ms)
        ours = self._let_go(flight, event_id) or Holder(self._name, event_id)
        await self._link.run(_KEEP, [answer_name(key), _lease(flight)], ours.to_bytes(), value, lifetime_ms)

    async def done(self, flight: bytes, answer: StoredAnswer) -> Done:
        """Return the message that carries a whole answer."""
        return Done(flight, await self._codec.write(_key(flight), answer))

    async def received(self, message: Done) -> StoredAnswer | None:
        """Return the answer that *message* carries, if it can be read."""
        return await self._codec.read(_key(message.flight), message.answer)

    def release(self, flight: bytes, event_id: UUID) -> None:
        """Let others lead, if the lease is this event's. Nobody waits for it."""
        ours = self._let_go(flight, event_id)
        if ours is not None:
            self._send(self._link.run(_RELEASE, [_lease(flight)], ours.to_bytes()))

    def _let_go(self, flight: bytes, event_id: UUID) -> Holder | None:
        """Renew no longer a lease that is this event's; return what stands under it."""
        ours = self._held.get(flight)
        return self._held.pop(flight) if ours is not None and ours.event_id == event_id else None

    @contextlib.asynccontextmanager
    async def following(self, flight: bytes, holder: Holder) -> AsyncIterator["asyncio.Queue[Message]"]:
        """Ask *holder* to tell what comes of *flight*; yield the queue of its messages."""
        queue: asyncio.Queue[Message] = asyncio.Queue()
        self._following.setdefault(flight, []).append(queue)
        self._tell(holder.gateway, Join(flight, self._name))
        try:
            yield queue
        finally:
            queues = self._following[flight]
            queues.remove(queue)
            if not queues:
                del self._following[flight]

    def _tell(self, gateway: bytes, message: Message) -> None:
        self._send(self._link.ask(b"PUBLISH", _CHANNEL + gateway, _encoder.encode(message)))

    def _send(self, command: Any) -> None:
        """Let a command go without waiting for it; that Redis is away is counted where it matters."""
        asyncio.ensure_future(command).add_done_callback(_ignore_absence)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for flight, ours in self._held.items():
                self._send(self._link.run(_RENEW, [_lease(flight)], ours.to_bytes(), LEASE_MS))

    def _hear(self, data: bytes) -> None:
        try:
            message = _decoder.decode(data)
        except msgspec.DecodeError:
            logger.warning("A message of another gateway could not be read; are all of the same version?")
            return
        if isinstance(message, Join):
            if self._on_join is not None:
                self._on_join(message.flight, message.reply_to, partial(self._tell, message.reply_to))
        else:
            for queue in self._following.get(message.flight, ()):
                queue.put_nowait(message)


def _key(flight: bytes) -> bytes:
    """Return the key of the answer that a flight is for; what follows it says whose calls share the flight."""
    return flight[:KEY_BYTES]


def _lease(flight: bytes) -> bytes:
    return b"zerorate:flight:{" + flight[:KEY_BYTES] + b"}" + flight[KEY_BYTES:]


def _ignore_absence(command: "asyncio.Future[Any]") -> None:
    problem = None if command.cancelled() else command.exception()
    if problem is not None and not isinstance(problem, RedisAway | RedisRefused):
        logger.error("A message to other gateways failed.", exc_info=problem)
