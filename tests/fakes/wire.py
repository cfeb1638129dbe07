"""A wire between two programs that a test can cut, or make deaf, and mend."""

import asyncio
import contextlib
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit


class Wire:
    """A TCP port on loopback whose bytes go to a server on a Unix socket or port, while it is whole."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.whole = True
        self.deaf = False
        """Bytes still reach the server, its replies no longer come back: what it did stays unknown."""
        self.late_seconds = 0.0
        """How long replies are held up."""

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self.cut()
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Close every connection and accept no more."""
        self.whole = False
        for writer in list(self._writers):
            writer.close()

    def mend(self) -> None:
        """Be whole again."""
        self.whole, self.deaf = True, False

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self.whole:
                await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._target, str):
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        else:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers.add(far_writer)
        pumps = [
            asyncio.ensure_future(self._pump(reader, far_writer, replies=False)),
            asyncio.ensure_future(self._pump(far_reader, writer, replies=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(far_writer)
            far_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(65536):
                if replies:
                    await asyncio.sleep(self.late_seconds)
                if not (replies and self.deaf):
                    writer.write(part)
                    await writer.drain()


def wire_to_redis(redis_url: str) -> tuple[Wire, Callable[[Wire], str]]:
    """Return a wire to the Redis at *redis_url*, and what tells the URL through it once it has started."""
    address = urlsplit(redis_url)
    query = parse_qs(address.query)
    if address.scheme == "unix":
        wire, number = Wire(address.path), query.get("db", ["0"])[0]
    else:
        wire, number = Wire((address.hostname or "", address.port or 6379)), address.path.strip("/") or "0"
    return wire, lambda started: f"redis://127.0.0.1:{started.port}/{number}"


def wire_to_postgres(database_url: str) -> tuple[Wire, Callable[[Wire], str]]:
    """Return a wire to the PostgreSQL at *database_url*, and what tells the URL through it once it has started."""
    address = urlsplit(database_url)
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    host, port = query.get("host", address.hostname or ""), int(query.get("port", address.port or 5432))
    wire = Wire(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))
    user = query.get("user", address.username or "postgres")
    return wire, lambda started: f"postgresql://{user}@127.0.0.1:{started.port}{address.path}"
