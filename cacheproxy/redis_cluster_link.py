"""The same link over a Redis Cluster: one link to each master, and the layout that says whose a key is.

The layout is read again when a node says that it has changed, or does not answer: `MOVED` and `ASK` are followed,
and whatever a dead node would know is away until a replica has taken its place. The other nodes' keys are not
touched by that.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from redis.crc import key_slot

from cacheproxy.redis_connection import RedisRefused
from cacheproxy.redis_link import Argument, RedisAway, RedisLink
from cacheproxy.redis_places import OneServer, StartNodes

SLOTS = 16_384
REDIRECTIONS = 3
"""Followed for one command; the layout does not change as often as that."""
LOOK_SECONDS = 30.0
"""Between looks at the layout, where nothing says that it has changed."""
PAUSE_SECONDS = 0.2
"""Between looks at most, while nodes do not answer."""
KEYLESS = frozenset({b"PING", b"PUBLISH", b"CLUSTER", b"SCRIPT", b"INFO"})
SCRIPTED = frozenset({b"EVAL", b"EVALSHA"})


class RedisClusterLink(RedisLink):
    """What ``RedisLink`` promises, over ``redis+cluster://``."""

    def __init__(self, places: StartNodes, *, budget_seconds: float, late_allowed: int) -> None:
        self._start_nodes = places
        self._budget_seconds = budget_seconds
        self._late_allowed = late_allowed
        self._nodes: dict[str, RedisLink] = {}
        self._slots: list[RedisLink | None] = [None] * SLOTS
        self._openings = 0
        self._look = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def connect(self) -> None:
        """Learn the cluster's layout and connect to its masters, in this event loop.

        Raises:
            RedisAway: no node tells it. It is tried again in the background.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._learn()
        finally:
            self._keeper = asyncio.create_task(self._keep_up())

    async def close(self) -> None:
        """Close every connection for good. Safe to call twice."""
        self._closed = True
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    @property
    def breaker(self) -> tuple[int, int]:
        """The worst of the nodes' states, and how often one of them was left alone."""
        states = [node.breaker for node in self._nodes.values()]
        return max((state for state, _ in states), default=0), self._openings + sum(n for _, n in states)

    def ask(self, *command: Argument) -> asyncio.Future[Any]:
        """Send *command* to the node of its key; otherwise as ``RedisLink.ask``."""
        reply = self._loop.create_future()
        node = self._node_for(command)
        if node is None or self._closed:
            self._look.set()
            reply.set_exception(
                RedisAway("the link is closed" if self._closed else "no node has this key now")
            )
        else:
            self._forward(node, command, reply, REDIRECTIONS)
        return reply

    def _node_for(self, command: Sequence[Argument]) -> RedisLink | None:
        name = _bytes(command[0]).upper()
        if name in KEYLESS:
            return next((node for node in self._nodes.values() if node.is_well), None)
        return self._slots[key_slot(_bytes(command[3 if name in SCRIPTED else 1]))]

    def _forward(
        self, node: RedisLink, command: tuple[Argument, ...], reply: asyncio.Future[Any], redirections: int
    ) -> None:
        node.ask(*command).add_done_callback(partial(self._answered, command, reply, redirections))

    def _answered(
        self,
        command: tuple[Argument, ...],
        reply: asyncio.Future[Any],
        redirections: int,
        answer: asyncio.Future[Any],
    ) -> None:
        problem = answer.exception()
        if reply.done():  # its caller was cancelled
            return
        if problem is None:
            reply.set_result(answer.result())
            return
        code, *rest = str(problem).split()
        if isinstance(problem, RedisAway) or code in {"MOVED", "CLUSTERDOWN"}:
            self._look.set()
        target = self._nodes.get(self._url(rest[-1])) if code in {"MOVED", "ASK"} else None
        if target is None or not redirections:
            reply.set_exception(problem)
            return
        if code == "ASK":
            target.ask(b"ASKING").add_done_callback(_retrieve)
        self._forward(target, command, reply, redirections - 1)

    def _url(self, place: str) -> str:
        host, _, port = place.rpartition(":")
        return self._start_nodes.url_of(host, int(port))

    async def _keep_up(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            self._look.clear()
            with contextlib.suppress(RedisAway):
                await self._learn()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _learn(self) -> None:
        """Ask one node after the other for the layout, those that are well first, and take the first's word.

        Raises:
            RedisAway: none tells it.
        """
        known = [url for url, node in self._nodes.items() if node.is_well]
        for url in dict.fromkeys([*known, *self._start_nodes.urls]):
            node = self._nodes.get(url) or await self._connected(url)
            try:
                layout = await node.ask(b"CLUSTER", b"SLOTS")
            except (RedisAway, RedisRefused):
                continue
            return await self._take(layout, _host_of(url))
        raise RedisAway("no node of the cluster answers")

    async def _take(self, layout: Iterable[Any], asked_host: str) -> None:
        """Connect to the masters in *layout*, then let every slot know its own; leave the nodes that are none."""
        masters = [
            (start, end, self._start_nodes.url_of((host or b"").decode() or asked_host, port))
            for start, end, (host, port, *_), *_ in layout
        ]
        urls = {url for _, _, url in masters}
        await asyncio.gather(*(self._connected(url) for url in urls - self._nodes.keys()))
        slots: list[RedisLink | None] = [None] * SLOTS
        for start, end, url in masters:
            slots[start : end + 1] = [self._nodes[url]] * (end + 1 - start)
        self._slots = slots
        for url in self._nodes.keys() - urls:
            node = self._nodes.pop(url)
            self._openings += node.breaker[1]
            await node.close()

    async def _connected(self, url: str) -> RedisLink:
        node = self._nodes[url] = RedisLink(
            OneServer(url), budget_seconds=self._budget_seconds, late_allowed=self._late_allowed
        )
        with contextlib.suppress(RedisAway):  # it is tried again in the background
            await node.connect()
        return node


def _host_of(url: str) -> str:
    """Return the host in a node's URL."""
    return urlsplit(url).hostname or ""


def _bytes(argument: Argument) -> bytes:
    if isinstance(argument, bytes):
        return argument
    return argument.encode() if isinstance(argument, str) else b"%d" % argument


def _retrieve(reply: asyncio.Future[Any]) -> None:
    reply.exception()  # the command that follows has the same
