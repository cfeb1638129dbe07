"""A connection to PostgreSQL for one statement that is run again and again, as cheaply as can be.

psycopg makes the connection; the statement then goes out and its end comes in through libpq itself, one write and
one read, without a cursor in between: a fifth of the gateway's time for a batch of usage events (ADR 0015).
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from cacheproxy.gateway.config import GatewaySettings

NAME = "zerorate_lane"
FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE, pq.ExecStatus.NONFATAL_ERROR)


class Lane:
    """One prepared statement with one parameter, a text. One caller at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = self._pgconn.socket
        self._ended: asyncio.Future[None] | None = None
        self._failure: psycopg.Error | None = None
        self._writes = False

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

    def run(self, parameter: bytes) -> asyncio.Future[None]:
        """Run the statement; what is returned ends when it is committed.

        Raises:
            psycopg.Error: (when awaited, or at once) the statement failed, or the connection did.
        """
        assert self._ended is None or self._ended.done(), "a lane is for one at a time"
        self._pgconn.send_query_prepared(NAME.encode(), (parameter,))
        self._ended, self._failure = self._loop.create_future(), None
        self._loop.add_reader(self._socket, self._read)
        if self._pgconn.flush():
            self._loop.add_writer(self._socket, self._write)
            self._writes = True
        return self._ended

    async def fetch(self, query: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run another statement, with `%s` for each of its *parameters*, and return its rows.

        Raises:
            psycopg.Error: it failed, or the connection did.
        """
        cursor = await self._connection.execute(query.encode(), parameters)
        return await cursor.fetchall() if cursor.description is not None else []

    def transaction(self) -> Any:
        """Return an `async with` that makes one transaction of what is fetched inside."""
        return self._connection.transaction()

    def close(self) -> None:
        """Let go of the connection, whatever is under way on it."""
        if not self._connection.closed:
            self._let_go()
            self._pgconn.finish()

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
            if self._writes:
                self._write()
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    return self._end()
                if result.status in FAILED:
                    self._failure = error_from_result(result)
        except psycopg.Error as failure:
            self._failure = failure
            self._end()

    def _write(self) -> None:
        if not self._pgconn.flush():
            self._loop.remove_writer(self._socket)
            self._writes = False

    def _end(self) -> None:
        self._let_go()
        ended, self._ended = self._ended, None
        if ended is None or ended.done():  # given up
            return
        if self._failure is not None:
            ended.set_exception(self._failure)
        else:
            ended.set_result(None)

    def _let_go(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._writes:
            self._loop.remove_writer(self._socket)
            self._writes = False
