"""A client that leaves when a cell wants it to: HTTP by hand over a socket of its own."""

import asyncio
import json
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.faults.matrix import Leaves
from tests.faults.server import Play

FIRST_WORD, LAST_WORD = b'"Hello"', b'"."'


class Seen(NamedTuple):
    """What the client saw: nothing (status 0) where it left early."""

    status: int = 0
    headers: dict[str, str] = {}
    body: bytes = b""
    left_at: float = 0.0

    @property
    def document(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Return the code of the error, in the body or in a stream's last event; "" where there is none."""
        text = self.body.removesuffix(b"data: [DONE]\n\n").rsplit(b"data: ", 1)[-1]
        document = json.loads(text) if text.strip() else {}
        code: str = document.get("error", {}).get("code", "")
        return code


def question(prompt: str, model: str, *, streamed: bool) -> dict[str, Any]:
    """Return the body of a cell's call; its prompt names the cell."""
    return {"model": model, "stream": streamed, "messages": [{"role": "user", "content": prompt}]}


async def call(url: str, key: str, play: Play, model: str) -> Seen:
    """Make the cell's call, and leave where the cell says."""
    cell = play.cell
    body = json.dumps(question(play.prompt, model, streamed=cell.streamed)).encode()
    head = _head(key, len(body), cell.fault.control)
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        leaves = cell.leaves
        if leaves in {Leaves.IN_HEAD, Leaves.IN_BODY}:
            writer.write(head[:40] if leaves is Leaves.IN_HEAD else head + body[:20])
            await writer.drain()
            await asyncio.sleep(0.2)
            return Seen(left_at=time.time())
        writer.write(head + body)
        if leaves is Leaves.NEVER:
            return parsed(await reader.read())
        hears_words = cell.streamed and leaves in {Leaves.IN_STREAM, Leaves.BEFORE_END}
        if hears_words:
            await reader.readuntil(FIRST_WORD if leaves is Leaves.IN_STREAM else LAST_WORD)
        if not hears_words or leaves is Leaves.BEFORE_END:
            await play.reached.wait()
            await asyncio.sleep(0.15)  # whatever was sent has arrived
        return Seen(left_at=time.time())
    finally:
        writer.transport.abort()
        play.gone.set()


def parsed(raw: bytes) -> Seen:
    """Return a whole answer, whose end is the connection's."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    elif lines[0].split()[1] != "204":  # which has neither a body nor a length
        assert len(body) == int(headers["content-length"]), "the answer was cut"
    return Seen(int(lines[0].split()[1]), headers, body)


def _unchunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert body == b"\r\n", "the answer was cut"
            return b"".join(parts)
        parts.append(body[:length])
        body = body[length + 2 :]


def _head(key: str, length: int, control: str) -> bytes:
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {key}",
        "content-type: application/json",
        f"content-length: {length}",
        *([f"cache-control: {control}"] if control else []),
        "connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
