"""The connections of one gateway: kept alive, shared, one call at a time on each.

The last to be given back is the first to be used again, so that as few stay open as are needed. One that has been
idle for longer than ``KEEP_ALIVE_SECONDS`` is never used; it is closed at the next look, once a second.
"""

import asyncio
from contextvars import Context
from functools import partial

from cacheproxy.gateway.upstreams.connection import Connection
from cacheproxy.gateway.upstreams.dialling import Dialler, Origin

KEEP_ALIVE_SECONDS = 4.0
"""Below uvicorn's 5: the server must not be the one to close an idle connection just as a call leaves on it."""
LOOK_SECONDS = 1.0


class Pool:
    """Made in the event loop that it serves; ``stop`` when all calls have ended."""

    def __init__(self, *, max_body_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialler = Dialler()
        self.now = self._loop.time
        """The clock of all time limits."""
        self._open: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._new = partial(Connection, self._loop, max_body_bytes, self._open)

    def idle(self, origin: Origin) -> Connection | None:
        """Return a connection that is there already."""
        connections = self._idle.get(origin)
        while connections:
            connection = connections.pop()
            if connection.usable and self.now() - connection.idle_since <= KEEP_ALIVE_SECONDS:
                return connection
            connection.abort()
        return None

    async def dial(self, origin: Origin) -> Connection:
        """Return a new connection.

        Raises:
            OSError, ValueError: there is none to be had.
        """
        return await self._dialler.dial(origin, self._new)

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep *connection* for the next call; close it where it could not carry one."""
        if not connection.usable:
            connection.abort()
            return
        now = self.now()
        connection.go_idle(now)
        self._idle.setdefault(origin, []).append(connection)
        if self._timer is None:
            self._timer = self._loop.call_at(now + LOOK_SECONDS, self._look, context=Context())  # no call's

    async def stop(self) -> None:
        """Close every connection."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._open):
            connection.abort()
            await connection.lost.wait()

    def _look(self) -> None:
        """Close what has been idle for too long, and look again while anything is."""
        oldest = self.now() - KEEP_ALIVE_SECONDS
        for origin, connections in tuple(self._idle.items()):
            kept = [each for each in connections if each.usable and each.idle_since >= oldest]
            for connection in set(connections) - set(kept):
                connection.abort()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look) if self._idle else None
