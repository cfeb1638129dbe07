"""Customers' programs of every kind, which call a gateway that dies under them."""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from typing import Any

import aiohttp

from tests.cacheproxy.gateway.world import Answer, Client

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
DONE = b"data: [DONE]\n\n"


class Program:
    """One key, one kind of call, sent again under the same idempotency key (where it has one) until it is answered."""

    def __init__(self, client: Client, kind: str, number: int) -> None:
        self.client = client
        self.kind = kind
        self.number = number
        self.sent = 0
        self.acknowledged: list[str] = []
        """The request ids of whole answers."""

    async def run(self, calls: int) -> None:
        """Make so many calls, each until it is answered."""
        for path, document, headers in itertools.islice(self._calls(), calls):
            while True:
                self.sent += 1
                try:
                    given = await self.client.post(path, document, headers)
                except (aiohttp.ClientError, OSError):
                    await asyncio.sleep(0.02)
                    continue
                if self._is_answered(given):
                    self.acknowledged.append(given.headers["x-request-id"])
                    break
                await asyncio.sleep(0.1)

    def _is_answered(self, given: Answer) -> bool:
        if given.status == 409:  # the attempt that was killed still has its lease
            assert given.code == "idempotency_key_in_use"
            return False
        assert given.status == 200, given
        return not given.headers["content-type"].startswith("text/event-stream") or given.body.endswith(DONE)

    def _calls(self) -> Iterator[tuple[str, Any, dict[str, str]]]:
        for place in itertools.count():
            words = f"{self.kind} {self.number} {place}"
            chat = {"model": "qwen-small", "messages": [{"role": "user", "content": words}]}
            match self.kind:
                case "hit":
                    words = f"hit {place % 5}"
                    yield CHAT, chat | {"messages": [{"role": "user", "content": words}]}, {}
                case "shared":  # what its twins ask at the same time
                    yield CHAT, chat | {"messages": [{"role": "user", "content": f"shared {place}"}]}, {}
                case "stream":
                    yield CHAT, chat | {"stream": True}, {}
                case "batch":  # in part what was asked before
                    yield (
                        EMBEDDINGS,
                        {"model": "embedder", "input": [f"item {place}", f"item {place + 1}"]},
                        {},
                    )
                case "idempotent":
                    yield CHAT, chat, {"idempotency-key": words}
                case _:
                    yield CHAT, chat, {}


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
