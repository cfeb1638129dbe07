"""From the name of a model server to a connection: addresses, TLS, and the first of them that answers.

Addresses are looked up in the loop's pool of threads and believed for ten seconds, so that a server can move. Where
a name has several, the next is tried a quarter of a second after the last (happy eyeballs, RFC 8305), or at once
when that has failed, and each connection begins with another one. Certificates are verified, always, against the
system's authorities or those in SSL_CERT_FILE or SSL_CERT_DIR. Proxies from the environment are not spoken to.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from cacheproxy.gateway.upstreams.connection import Connection

BELIEVED_SECONDS = 10.0
STAGGER_SECONDS = 0.25
MAX_NAMES = 10_000

Opening = Callable[[], Any]


class Origin(NamedTuple):
    """Where a connection leads: what may be shared by all calls that name the same."""

    is_tls: bool
    host: str
    port: int


class Dialler:
    """Opens connections."""

    def __init__(self) -> None:
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._names = Names()

    async def dial(self, origin: Origin, protocol: Callable[[], Connection]) -> Connection:
        """Return a connection to *origin*.

        Raises:
            OSError, ValueError: no such name, nobody there, or the certificate is not good; nothing was asked.
        """
        dialling = asyncio.create_task(self._dial(origin, protocol), context=Context())
        try:
            return await dialling
        except BaseException:
            _give_up(dialling)
            raise

    async def _dial(self, origin: Origin, protocol: Callable[[], Connection]) -> Connection:
        """Dial in a task of its own: a transport keeps the context that it was made in, and so would keep the call."""
        addresses = await self._names.addresses(origin)
        openings = [partial(self._open, origin, address, protocol) for address in addresses]
        return await (openings[0]() if len(openings) == 1 else _first(openings))

    async def _open(self, origin: Origin, address: str, protocol: Callable[[], Connection]) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            protocol,
            address,
            origin.port,
            ssl=self._tls if origin.is_tls else None,
            server_hostname=origin.host if origin.is_tls else None,
        )
        return connection


class Names:
    """The addresses behind names, for a while."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, deque[str]]] = {}

    async def addresses(self, origin: Origin) -> list[str]:
        """Return the addresses of *origin*, each time beginning with another one.

        Raises:
            OSError, ValueError: it has none.
        """
        if _is_literal(origin.host):
            return [origin.host]
        loop = asyncio.get_running_loop()
        until, addresses = self._known.get(origin.host, (0.0, deque()))
        if until <= loop.time():
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
            if len(self._known) >= MAX_NAMES:
                self._known.clear()
            addresses = deque(_in_turn(found))
            self._known[origin.host] = loop.time() + BELIEVED_SECONDS, addresses
        given = list(addresses)
        addresses.rotate(-1)
        return given


async def _first(openings: Iterable[Opening]) -> Connection:
    """Return the first connection to be made, beginning an attempt whenever the last has failed or taken long.

    Raises:
        OSError: all have failed; the last failure.
    """
    waiting, running = deque(openings), set[asyncio.Task[Connection]]()
    try:
        while True:
            if waiting:
                running.add(asyncio.create_task(waiting.popleft()()))
            pause_seconds = STAGGER_SECONDS if waiting else None
            done, _ = await asyncio.wait(running, timeout=pause_seconds, return_when="FIRST_COMPLETED")
            for attempt in done:
                running.discard(attempt)
                if attempt.exception() is None:
                    return attempt.result()
                if not running and not waiting:
                    attempt.result()
    finally:
        for attempt in running:
            _give_up(attempt)


def _give_up(attempt: asyncio.Task[Connection]) -> None:
    attempt.cancel()
    attempt.add_done_callback(_drop)


def _drop(attempt: asyncio.Task[Connection]) -> None:
    """Close what an attempt that lost the race has opened all the same."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort()


def _in_turn(found: Iterable[Any]) -> list[str]:
    """Return the addresses that *found* has, the families in turn, the system's favourite first."""
    families: dict[int, list[str]] = {}
    for family, _, _, _, place in found:
        families.setdefault(family, []).append(place[0])
    return [address for address in chain(*zip_longest(*families.values())) if address is not None]


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
