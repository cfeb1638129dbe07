"""A connection to PostgreSQL as the gateway wants it, and which failures mean that it is away."""

import asyncio
from typing import Any

import asyncpg

from cacheproxy.gateway.config import GatewaySettings


class DatabaseAway(Exception):
    """PostgreSQL cannot be reached, or does not answer in time. Whether the last statement took effect is unknown."""


AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Lost connections, shutdown, a missing table: time or an operator cures them."""


async def connect(settings: GatewaySettings, *, application_name: str) -> Any:
    """Return a new connection that commits synchronously, under the settings' role.

    Raises:
        DatabaseAway: no connection within the settings' time limit.
    """
    session = {"application_name": application_name, "synchronous_commit": "on"}
    if settings.database_role is not None:
        session["role"] = settings.database_role
    try:
        async with asyncio.timeout(settings.database_timeout_seconds):
            return await asyncpg.connect(settings.database_url, server_settings=session)
    except AWAY as failure:
        raise DatabaseAway(describe(failure)) from failure


def describe(failure: BaseException) -> str:
    """Return one line about *failure*; a timeout has no text of its own."""
    return str(failure) or type(failure).__name__
