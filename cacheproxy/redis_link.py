"""Redis on a call's way: one connection per link, which pipelines by itself.

Commands asked in one turn of the event loop leave in one write, and their replies resolve futures in order: a
command costs a few microseconds and no task, however many are under way. One connection is enough, because Redis
works on one command at a time anyway; what must not queue behind another kind of traffic opens its own link.

A command that has no reply within the budget fails, by one timer for all of them, while the connection waits
on for the reply that is still due: replies stay in step. A connection on which nothing comes for much longer
is given up. A lost one is opened again in the background, and meanwhile commands fail at once.

``RedisAway`` says nothing of whether the command took effect.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, NamedTuple, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

Argument = bytes | str | int

CONNECT_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""Between attempts to connect: doubled from the one to the other."""
STALLED_BUDGETS = 50
"""A connection on which nothing was heard for so many budgets, and at least a second, is given up."""
MAX_DUE = 65_536
"""Replies that a connection may owe; the next command fails at once."""
MAX_UNSENT_BYTES = 64 << 20
"""Bytes that may wait for a slow connection; while there are more, commands fail at once."""

_NOTHING = object()


class RedisAway(Exception):
    """There is no connection, or no reply within the budget."""


class RedisRefused(Exception):
    """Redis answers with an error; the message is its own, code first."""


class Script(NamedTuple):
    """A Lua script, with the digest that Redis knows it by."""

    text: str
    sha: bytes

    @classmethod
    def of(cls, text: str) -> "Script":
        """Return the script *text*."""
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest().encode())


class RedisLink:
    """One connection to Redis that is kept up: ``connect()``, then ``ask`` as often as wanted, then ``close()``."""

    def __init__(self, url: str, *, budget_seconds: float) -> None:
        self._server = _Server.at(url)
        self._budget_seconds = budget_seconds
        self._connection: _Connection | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Open the connection and keep it up from now on, in this event loop.

        Raises:
            RedisAway: it does not open within a second. It is tried again in the background.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._open()
        finally:
            self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Close the connection for good; what is under way fails. Safe to call twice."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        if self._connection is not None:
            self._connection.give_up("the link is closed")
            await self._connection.lost.wait()

    def ask(self, *command: Argument) -> asyncio.Future[Any]:
        """Send *command* and return its reply to come: bytes, an integer, a list of these, or None.

        Cancelling what is returned takes nobody else's reply away. When awaited, it

        Raises:
            RedisAway: there is no connection, or no reply within the budget.
            RedisRefused: the reply is an error.
        """
        reply = self._loop.create_future()
        if self._connection is None:
            reply.set_exception(RedisAway("not connected"))
        else:
            self._connection.send(command, reply)
        return reply

    async def run(self, script: Script, keys: Sequence[bytes], *arguments: Argument) -> Any:
        """Run *script* on *keys* and return its reply; Redis is taught the script when it does not know it.

        Raises:
            RedisAway, RedisRefused: as ``ask``.
        """
        rest = (len(keys), *keys, *arguments)
        try:
            return await self.ask(b"EVALSHA", script.sha, *rest)
        except RedisRefused as refusal:
            if not str(refusal).startswith("NOSCRIPT"):
                raise
        return await self.ask(b"EVAL", script.text, *rest)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._connection = await self._server.connect(self._budget_seconds)
        except (OSError, TimeoutError, RedisAway, RedisRefused) as failure:
            raise RedisAway(str(failure) or "no connection in time") from failure

    async def _keep(self) -> None:
        pause_seconds = SHORTEST_PAUSE_SECONDS
        while True:
            if self._connection is not None:
                await self._connection.lost.wait()
                self._connection, pause_seconds = None, SHORTEST_PAUSE_SECONDS
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
            with contextlib.suppress(RedisAway):
                await self._open()


def open_link(url: str, *, budget_seconds: float) -> RedisLink:
    """Return a link to *url*: ``redis://``, ``rediss://``, ``unix://`` or ``redis+cluster://``."""
    if url.startswith("redis+cluster://"):
        from cacheproxy.redis_cluster_link import RedisClusterLink

        return RedisClusterLink(url, budget_seconds=budget_seconds)
    return RedisLink(url, budget_seconds=budget_seconds)


class _Server(NamedTuple):
    """Where Redis is, and what it wants to hear first."""

    address: str | tuple[str, int]
    tls: Any
    greeting: tuple[tuple[Argument, ...], ...]

    @classmethod
    def at(cls, url: str) -> "_Server":
        """Read *url* as redis-py does, its TLS options included."""
        options = cast("dict[str, Any]", dict(parse_url(url)))
        kind = options.pop("connection_class", None)
        tls = SSLConnection(**options).ssl_context.get() if kind is SSLConnection else None
        address = (
            options["path"]
            if kind is UnixDomainSocketConnection
            else (options.get("host", "localhost"), options.get("port", 6379))
        )
        greeting: list[tuple[Argument, ...]] = [("PING",)]
        if database := options.get("db"):
            greeting.insert(0, ("SELECT", database))
        if password := options.get("password"):
            username = options.get("username")
            greeting.insert(0, ("AUTH", username, password) if username else ("AUTH", password))
        return cls(address, tls, tuple(greeting))

    async def connect(self, budget_seconds: float) -> "_Connection":
        """Return a connection that was greeted.

        Raises:
            OSError, RedisAway, RedisRefused: there is none to be had.
        """
        loop = asyncio.get_running_loop()

        def protocol() -> _Connection:
            return _Connection(loop, budget_seconds)

        if isinstance(self.address, str):
            _, connection = await loop.create_unix_connection(protocol, self.address)
        else:
            _, connection = await loop.create_connection(protocol, *self.address, ssl=self.tls)
        try:
            for command in self.greeting:
                reply: asyncio.Future[Any] = loop.create_future()
                connection.send(command, reply)
                await reply
        except BaseException:
            connection.give_up("no proper greeting")
            raise
        return connection


class _Connection(asyncio.Protocol):
    """One connection: replies that are due, in order, and turns whose budget runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, budget_seconds: float) -> None:
        self.lost = asyncio.Event()
        self._loop = loop
        self._budget_seconds = budget_seconds
        self._stalled_seconds = max(1.0, STALLED_BUDGETS * budget_seconds)
        self._closed_by: str | None = None
        self._full = False
        self._reader = hiredis.Reader(replyError=RedisRefused, notEnoughData=_NOTHING)
        self._due: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self._asked: list[asyncio.Future[Any]] = []
        self._turns: deque[tuple[float, list[asyncio.Future[Any]]]] = deque()
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def send(self, command: tuple[Argument, ...], reply: asyncio.Future[Any]) -> None:
        """Send *command* at the end of this turn of the event loop; what it returns resolves *reply*."""
        if self._closed_by is not None or self._full or len(self._due) >= MAX_DUE:
            reply.set_exception(RedisAway(self._closed_by or "too much is under way"))
            return
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub says: a tuple of one
        self._asked.append(reply)
        self._due.append(reply)

    def give_up(self, reason: str) -> None:
        """Fail what is due and drop the connection."""
        if self._closed_by is None:
            self._closed_by = reason
            self._transport.abort()
            if self._timer is not None:
                self._timer.cancel()
            for reply in self._due:
                _fail(reply, reason)
            self._due.clear()

    def _flush(self) -> None:
        if self._closed_by is not None:
            return
        now = self._loop.time()
        if len(self._due) == len(self._asked):
            self._heard_at = now  # nothing was due before this turn
        self._turns.append((now + self._budget_seconds, self._asked))
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._budget_seconds, self._sweep)
        written = b"".join(self._unsent) if len(self._unsent) > 1 else self._unsent[0]
        self._unsent, self._asked = [], []
        self._transport.write(written)

    def _sweep(self) -> None:
        """Fail the commands whose budget is spent, and the connection if it has been silent for too long."""
        now, self._timer = self._loop.time(), None
        while self._turns and self._turns[0][0] <= now:
            for reply in self._turns.popleft()[1]:
                _fail(reply, "no reply within the budget")
        while self._turns and all(reply.done() for reply in self._turns[0][1]):
            self._turns.popleft()  # answered: nothing of it can be late any more
        if self._due and now - self._heard_at >= self._stalled_seconds:
            self.give_up("nothing was heard for too long")
        elif self._turns or self._due:
            next_at = self._turns[0][0] if self._turns else now + self._budget_seconds
            self._timer = self._loop.call_at(next_at, self._sweep)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        """Resolve the replies that are whole, in the order of their commands."""
        self._heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOTHING:
                reply = self._due.popleft()
                if reply.done():  # given up, or its caller was cancelled
                    continue
                if isinstance(answer, RedisRefused):
                    reply.set_exception(answer)
                else:
                    reply.set_result(answer)
        except (hiredis.ProtocolError, IndexError) as problem:
            self.give_up(f"what answers is not Redis ({problem})")

    def pause_writing(self) -> None:
        """Take no more commands until the connection has caught up."""
        self._full = True

    def resume_writing(self) -> None:
        """Take commands again."""
        self._full = False

    def connection_lost(self, problem: Exception | None) -> None:
        """Fail what is due."""
        self.give_up(str(problem) if problem else "the connection was lost")
        self.lost.set()


def _fail(reply: asyncio.Future[Any], reason: str) -> None:
    if not reply.done():
        reply.set_exception(RedisAway(reason))
