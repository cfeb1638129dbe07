"""A connection to PostgreSQL for one statement that is run again and again, as cheaply as can be.

psycopg makes the connection; the statement then goes out and its end comes in through libpq itself, one write and
one read, without a cursor in between: a fifth of the gateway's time for a batch of usage events (ADR 0015).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Self

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.tasks import conclude

NAME = "zerorate_lane"
FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE, pq.ExecStatus.NONFATAL_ERROR)

Ended = Callable[[psycopg.Error | None], None]


class Lane:
    """One prepared statement with one parameter, a text. One caller at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = self._pgconn.socket
        self._ended: Ended | None = None
        self._failure: psycopg.Error | None = None
        self._writes = False
        self._loop.add_reader(self._socket, self._read)

    @classmethod
    async def open(cls, settings: GatewaySettings, statement: str, *, application_name: str) -> Self:
        """Connect and prepare *statement*, which names its parameter `$1`; commits are synchronous.

        Raises:
            psycopg.Error: there is no connection, or the statement is not taken.
        """
        connection = await psycopg.AsyncConnection.connect(
            settings.database_url, autocommit=True, application_name=application_name
        )
        try:
            await connection.execute("SELECT set_config('synchronous_commit', 'on', false)")
            if settings.database_role is not None:
                await connection.execute("SELECT set_config('role', %s, false)", [settings.database_role])
            await connection.execute(f"PREPARE {NAME} (text) AS {statement}".encode())
        except BaseException:
            connection.pgconn.finish()
            raise
        return cls(connection)

    @property
    def is_open(self) -> bool:
        """Whether nothing is known to be wrong with the connection."""
        return not self._connection.closed

    def begin(self, parameter: bytes, ended: Ended) -> None:
        """Run the statement; *ended* is called once it is committed, or with why it is not.

        Raises:
            psycopg.Error: it could not be sent; *ended* is not called.
        """
        assert self._ended is None, "a lane is for one at a time"
        self._pgconn.send_query_prepared(NAME.encode(), (parameter,))
        self._ended, self._failure = ended, None
        if self._pgconn.flush():
            self._loop.add_writer(self._socket, self._write)
            self._writes = True

    async def run(self, parameter: bytes) -> None:
        """Run the statement and return once it is committed.

        Raises:
            psycopg.Error: the statement failed, or the connection did.
        """
        done = self._loop.create_future()
        self.begin(parameter, partial(conclude, done))
        await done

    async def fetch(self, query: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run another statement, inside a `transaction`, with `%s` for each of its *parameters*; return its rows.

        Raises:
            psycopg.Error: it failed, or the connection did.
        """
        cursor = await self._connection.execute(query.encode(), parameters)
        return await cursor.fetchall() if cursor.description is not None else []

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Make one transaction of what is fetched inside; nothing else may be under way."""
        self._loop.remove_reader(self._socket)  # psycopg waits for the socket itself
        try:
            async with self._connection.transaction():
                yield
        finally:
            if self.is_open:
                self._loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """Let go of the connection, whatever is under way on it; nobody is told of its end."""
        self._ended = None
        if not self._connection.closed:
            self._let_go()
            self._pgconn.finish()

    def look(self) -> None:
        """Take in what has come. The event loop does that by itself, between two of its turns."""
        if self._ended is not None:
            self._read()

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
            if self._writes:
                self._write()
            while self._ended is not None and not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    self._end()
                elif result.status in FAILED:
                    self._failure = error_from_result(result)
        except psycopg.Error as failure:
            self._failure = failure
            self._let_go()
            self._end()

    def _write(self) -> None:
        if not self._pgconn.flush():
            self._loop.remove_writer(self._socket)
            self._writes = False

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self._failure)

    def _let_go(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._writes:
            self._loop.remove_writer(self._socket)
            self._writes = False
