"""Where Redis is: one server, whichever of several sentinels say it is, or the nodes of a cluster.

========================================================  ================================================
``redis://``, ``rediss://``, ``unix://``                  one server
``redis+sentinel://host:port,host:port/service[/db]``     the master of *service*, as any of these sentinels says
``redis+cluster://host:port,host:port``                   a cluster, of which these nodes tell the layout
========================================================  ================================================

The latter two with TLS as ``rediss+…``. A user and a password before the hosts, and options after a ``?``, are for
each server; ``sentinel_username`` and ``sentinel_password`` there are for the sentinels.
"""

import asyncio
import contextlib
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from cacheproxy.redis_connection import Connection, Punctuality, RedisAway, RedisRefused, Server

ANSWER_SECONDS = 0.3
"""For one of several to answer in: none of them may take all the time there is."""

_PLACE = "<place>"


class OneServer(NamedTuple):
    """Redis, at a URL that says all."""

    url: str

    async def find(self) -> str:
        """Return where to connect to now."""
        return self.url

    async def connect(self, budget_seconds: float, punctuality: Punctuality) -> Connection:
        """Return a greeted connection.

        Raises:
            OSError, RedisAway, RedisRefused: there is none to be had.
        """
        return await Server.at(self.url).connect(budget_seconds, punctuality)


class Sentinels(NamedTuple):
    """The master of *service*, whichever server that is."""

    sentinels: tuple[str, ...]
    """Their URLs."""
    service: str
    master: str
    """The master's URL, with ``<place>`` for its host and port."""

    @property
    def masters(self) -> list[str]:
        """The sentinels' hosts and ports, each with what the master wants to hear: login before, database after."""
        _, _, wanted = self.master.partition("://")
        return [
            wanted.replace(_PLACE, urlsplit(sentinel).netloc.rpartition("@")[2])
            for sentinel in self.sentinels
        ]

    async def find(self) -> str:
        """Return where the master is, as the first sentinel says whose word holds.

        Raises:
            RedisAway: no sentinel knows a server that takes itself for the master.
        """
        for sentinel in self.sentinels:
            with contextlib.suppress(OSError, TimeoutError, RedisAway, RedisRefused):
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._master(sentinel)
        raise RedisAway(f"no sentinel knows a master of {self.service}")

    async def connect(self, budget_seconds: float, punctuality: Punctuality) -> Connection:
        """Return a greeted connection to the master; it is given up once the server is the master no more.

        Raises:
            OSError, RedisAway, RedisRefused: there is none to be had.
        """
        connection = await Server.at(await self.find()).connect(budget_seconds, punctuality)
        connection.expects_master = True
        return connection

    async def _master(self, sentinel: str) -> str:
        known = await _ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        if known is None:
            raise RedisAway(f"a sentinel does not know {self.service}")
        host, port = (part.decode() for part in known)
        url = at_place(self.master, host, port)
        role = await _ask(url, "ROLE")
        if not role or role[0] != b"master":
            raise RedisAway("the sentinels' master has become a replica")
        return url


class StartNodes(NamedTuple):
    """Some nodes of a cluster."""

    urls: tuple[str, ...]
    node: str
    """A node's URL, with ``<place>`` for its host and port."""

    async def find(self) -> str:
        """Return a node that answers.

        Raises:
            RedisAway: none does.
        """
        for url in self.urls:
            with contextlib.suppress(OSError, TimeoutError, RedisAway, RedisRefused):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await _ask(url, "PING")
                return url
        raise RedisAway("no node of the cluster answers")

    def url_of(self, host: str, port: int) -> str:
        """Return the URL of one of the cluster's nodes."""
        return at_place(self.node, host, port)


Places = OneServer | Sentinels | StartNodes


class _Patient:
    """For servers that are asked once."""

    def in_time(self) -> None:
        """Nothing comes of it."""

    def late(self) -> None:
        """Nothing comes of it."""


async def _ask(url: str, *command: str) -> list[bytes] | None:
    connection = await Server.at(url).connect(ANSWER_SECONDS, _Patient())
    try:
        reply: list[bytes] | None = await connection.ask(command)
        return reply
    finally:
        connection.give_up("asked and answered")


def places_at(url: str) -> Places:
    """Return what *url* says.

    Raises:
        ValueError: it names no host, or no service.
    """
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if kind not in {"sentinel", "cluster"}:
        return OneServer(url)
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    places = [host for host in hosts.split(",") if host]
    if not places:
        raise ValueError(f"{scheme}:// needs at least one host:port.")
    if kind == "cluster":
        node = f"{base}://{login}{at}{_PLACE}{_asked(query)}"
        return StartNodes(tuple(node.replace(_PLACE, place) for place in places), node)
    return _sentinels(base, login + at, places, path, query)


def at_place(url: str, host: str, port: int | str) -> str:
    """Return *url* with this host and port in their place."""
    return url.replace(_PLACE, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _sentinels(base: str, login: str, places: list[str], path: str, query: str) -> Sentinels:
    service, _, database = path.partition("/")
    if not service:
        raise ValueError(f"{base}+sentinel:// needs the service's name after the hosts.")
    options = dict(parse_qsl(query))
    user, password = options.pop("sentinel_username", ""), options.pop("sentinel_password", "")
    theirs = f"{user}:{password}@" if password else ""
    rest = _asked(urlencode(options))
    return Sentinels(
        tuple(f"{base}://{theirs}{place}{rest}" for place in places),
        service,
        f"{base}://{login}{_PLACE}/{database or 0}{rest}",
    )


def _asked(query: str) -> str:
    return f"?{query}" if query else ""
