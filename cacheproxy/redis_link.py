"""Redis on a call's way: one connection per link, which pipelines by itself.

One connection is enough, because Redis works on one command at a time anyway; what must not queue behind another
kind of traffic opens its own link.

A command that has no reply within the budget fails, by one timer for all of them, while the connection waits
on for the reply that is still due: replies stay in step. A connection on which nothing comes for much longer
is given up. A lost one is opened again in the background, and meanwhile commands fail at once. So they do while
Redis is left alone for being late too often (`redis_breaker.py`).

``RedisAway`` says nothing of whether the command took effect.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, NamedTuple

from cacheproxy.redis_breaker import NEVER, Breaker
from cacheproxy.redis_connection import Argument, Connection, RedisAway, RedisRefused
from cacheproxy.redis_places import OneServer, Sentinels, StartNodes, places_at

__all__ = ["Argument", "RedisAway", "RedisLink", "RedisRefused", "Script", "open_link"]

CONNECT_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""Between attempts to connect: doubled from the one to the other."""


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

    def __init__(
        self, places: OneServer | Sentinels, *, budget_seconds: float, late_allowed: int = NEVER
    ) -> None:
        self._places = places
        self._budget_seconds = budget_seconds
        self._breaker = Breaker(late_allowed, probe=lambda: self._ask(("PING",)))
        self._connection: Connection | None = None
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
        self._breaker.stop()
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
        if self._breaker.is_open:
            return self._failed("left alone for being slow")
        return self._ask(command)

    @property
    def breaker(self) -> tuple[int, int]:
        """Whether Redis is left alone (0: no, 1: it is being tried, 2: yes), and how often that began."""
        return self._breaker.state, self._breaker.openings

    @property
    def is_well(self) -> bool:
        """Whether there is a connection on which replies come in time, as far as is known."""
        return self._connection is not None and not self._breaker.is_open

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

    def _ask(self, command: tuple[Argument, ...]) -> asyncio.Future[Any]:
        return self._connection.ask(command) if self._connection else self._failed("not connected")

    def _failed(self, reason: str) -> asyncio.Future[Any]:
        reply = self._loop.create_future()
        reply.set_exception(RedisAway(reason))
        return reply

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._connection = await self._places.connect(self._budget_seconds, self._breaker)
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


def open_link(url: str, *, budget_seconds: float, late_allowed: int = NEVER) -> RedisLink:
    """Return a link to *url*, as `places_at` reads it.

    After *late_allowed* turns in a row without a reply in time, Redis is left alone for a while.

    Raises:
        ValueError: *url* cannot be read.
    """
    places = places_at(url)
    if isinstance(places, StartNodes):
        from cacheproxy.redis_cluster_link import RedisClusterLink

        return RedisClusterLink(places, budget_seconds=budget_seconds, late_allowed=late_allowed)
    return RedisLink(places, budget_seconds=budget_seconds, late_allowed=late_allowed)
