"""A model server that is never the limit: ``python -m benchmarks.upstream PORT``, a bare asyncio protocol on uvloop.

It answers every POST alike; a body that asks for a stream gets one, an event every few milliseconds.
"""

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks.bare import ANSWER

END_OF_HEAD = b"\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(ANSWER),
    ANSWER,
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT_SECONDS = 0.005
CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"small",'
    b'"choices":[{"index":0,"delta":{"content":"Paris "},"finish_reason":null}]}\n\n'
)
STOP = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"small",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
USAGE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"small","choices":[],'
    b'"usage":{"prompt_tokens":12,"completion_tokens":4,"total_tokens":16}}\n\n'
)
EVENTS = (CHUNK, CHUNK, CHUNK, CHUNK, STOP + USAGE + b"data: [DONE]\n\n")


class Upstream(asyncio.Protocol):
    """One connection, one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.received = b""

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self.received += data
        end = self.received.find(END_OF_HEAD)
        if end < 0:
            return
        head = self.received[:end].lower()
        start = head.find(b"content-length: ")
        length = int(head[start + 16 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        if len(self.received) < end + len(END_OF_HEAD) + length:
            return
        body, self.received = self.received[end + len(END_OF_HEAD) :], b""
        if b'"stream": true' in body or b'"stream":true' in body:
            self.stream(STREAM_HEAD, 0)
        else:
            self.transport.write(WHOLE)

    def stream(self, before: bytes, number: int) -> None:
        """Send an event, and the next one later, while anybody listens."""
        if self.transport.is_closing():
            return
        event = EVENTS[number]
        chunk = before + b"%x\r\n%b\r\n" % (len(event), event)
        if number + 1 == len(EVENTS):
            self.transport.write(chunk + b"0\r\n\r\n")
            return
        self.transport.write(chunk)
        asyncio.get_running_loop().call_later(EVENT_SECONDS, self.stream, b"", number + 1)


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
