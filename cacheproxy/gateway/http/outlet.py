"""Where a connection's bytes leave, and how answers that are ready together leave together.

A client that gets one answer at a time falls asleep between two of them, and to wake it costs the gateway three
times what it takes to write to one that is awake. So whole answers are held until the event loop has been through
what it has to do, and then written one right after the other, to whichever connections they go.
"""

import asyncio
from typing import ClassVar
from weakref import WeakKeyDictionary


class Outbox:
    """The outlets of one event loop that hold something."""

    _by_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "Outbox"]] = WeakKeyDictionary()

    def __init__(self) -> None:  # without the loop, which it would keep alive
        self._holding: list[Outlet] = []

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "Outbox":
        """Return the one of *loop*."""
        outbox = cls._by_loop.get(loop)
        if outbox is None:
            outbox = cls._by_loop[loop] = cls()
        return outbox

    def add(self, outlet: "Outlet") -> None:
        """Let *outlet* write what it holds, at the end of this turn of the event loop."""
        if not self._holding:
            asyncio.get_running_loop().call_soon(self._write)
        self._holding.append(outlet)

    def _write(self) -> None:
        holding, self._holding = self._holding, []
        for outlet in holding:
            outlet.flush()


class Outlet:
    """One connection's. In whatever way bytes are written, they leave in that order, and all of them before its end."""

    __slots__ = ("_held", "_outbox", "_transport")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._held = b""

    @property
    def unsent_bytes(self) -> int:
        """Return how much the client has yet to take."""
        return self._transport.get_write_buffer_size() + len(self._held)

    def write_soon(self, data: bytes) -> None:
        """Write *data* with what other connections are about to write."""
        if not self._held:
            self._outbox.add(self)
        self._held += data

    def write(self, *parts: bytes) -> None:
        """Write *parts* at once."""
        self.flush()
        if len(parts) == 1:
            self._transport.write(parts[0])
        else:
            self._transport.writelines(parts)

    def flush(self) -> None:
        """Write what is held; to a client who has gone, nothing."""
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def end(self) -> None:
        """Say that nothing more comes; what the client still sends is read."""
        self.flush()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """Close the connection once all has left."""
        self.flush()
        self._transport.close()

    def cut(self) -> None:
        """Close the connection now; what was written to a client who reads it has left."""
        self.flush()
        self._transport.abort()
