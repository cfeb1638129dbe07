"""One connection to Redis: commands out, replies in, in order and within a budget.

Commands asked in one turn of the event loop leave in one write, and their replies resolve futures in order: a
command costs a few microseconds and no task, however many are under way.
"""

import asyncio
from collections import deque
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

Argument = bytes | str | int

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


class Punctuality(Protocol):
    """Is told whether replies come within the budget."""

    def in_time(self) -> None:
        """Take note of a reply that did."""

    def late(self) -> None:
        """Take note of a turn of which at least one command had none."""


class Server(NamedTuple):
    """Where Redis is, and what it wants to hear first."""

    address: str | tuple[str, int]
    tls: Any
    greeting: tuple[tuple[Argument, ...], ...]

    @staticmethod
    @lru_cache(maxsize=64)
    def at(url: str) -> "Server":
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
        return Server(address, tls, tuple(greeting))

    async def connect(self, budget_seconds: float, punctuality: Punctuality) -> "Connection":
        """Return a connection that was greeted.

        Raises:
            OSError, RedisAway, RedisRefused: there is none to be had.
        """
        loop = asyncio.get_running_loop()

        def protocol() -> Connection:
            return Connection(loop, budget_seconds, punctuality)

        if isinstance(self.address, str):
            _, connection = await loop.create_unix_connection(protocol, self.address)
        else:
            _, connection = await loop.create_connection(protocol, *self.address, ssl=self.tls)
        try:
            for command in self.greeting:
                await connection.ask(command)
        except BaseException:
            connection.give_up("no proper greeting")
            raise
        return connection


class Connection(asyncio.Protocol):
    """One connection: replies that are due, in order, and turns whose budget runs."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, budget_seconds: float, punctuality: Punctuality
    ) -> None:
        self.lost = asyncio.Event()
        self.expects_master = False
        """Whether the connection is of no use once the server takes no writes."""
        self._loop = loop
        self._budget_seconds = budget_seconds
        self._punctuality = punctuality
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

    def ask(self, command: tuple[Argument, ...]) -> asyncio.Future[Any]:
        """Send *command* and return its reply to come."""
        reply = self._loop.create_future()
        self.send(command, reply)
        return reply

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
            unanswered = [reply for reply in self._turns.popleft()[1] if not reply.done()]
            for reply in unanswered:
                reply.set_exception(RedisAway("no reply within the budget"))
            if unanswered:
                self._punctuality.late()
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
                self._punctuality.in_time()
                if isinstance(answer, RedisRefused):
                    reply.set_exception(answer)
                    if self.expects_master and str(answer).startswith("READONLY"):
                        return self.give_up("the server has become a replica")
                else:
                    reply.set_result(answer)
        except (hiredis.ProtocolError, IndexError) as problem:
            return self.give_up(f"what answers is not Redis ({problem})")

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
