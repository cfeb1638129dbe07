"""OpenAI's chat stream, read beside its way to the client."""

from typing import Any

from cacheproxy.protocols import document, sse
from cacheproxy.protocols.openai.assembly import ChatAssembly

CLOSING = b"[DONE]"
MAX_EVENT_BYTES = 16 * 1024 * 1024  # images come inside deltas; beyond this, what comes is no event


class ChatStreamReader:
    """The state of one stream, as `cacheproxy.protocols.request.StreamReader` describes it."""

    def __init__(self, *, wants_usage: bool) -> None:
        self.finished = False
        self._wants_usage = wants_usage
        self._events = sse.EventSplitter()
        self._assembly = ChatAssembly()
        self._sound = True
        self._held_back: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """Return what may go to the client now."""
        passed = b"".join([event for event in self._events.feed(chunk) if self._passes(event)])
        if self.finished or sse.fields(self._events.pending) == (b"", CLOSING):
            self.finished = True
            self._held_back.append(self._events.take())
        elif len(self._events.pending) > MAX_EVENT_BYTES:
            self._sound = False
            passed += self._events.take()
        return passed

    def tail(self) -> bytes:
        """Return the held-back end."""
        return b"".join(self._held_back) + self._events.pending

    def answer(self) -> bytes | None:
        """Return the whole stream as a plain answer, or None."""
        whole = self.finished and self._sound and self._assembly.complete
        return document.write(self.so_far()) if whole else None

    def so_far(self) -> dict[str, Any]:
        """Return the plain answer as far as it came."""
        return self._assembly.answer()

    def _passes(self, event: bytes) -> bool:
        """Read one event; return whether it goes to the client now."""
        name, data = sse.fields(event)
        if self.finished or data == CLOSING:
            self.finished = True
            self._held_back.append(event)
            return False
        return not data or self._take_in(name, data) or self._wants_usage

    def _take_in(self, name: bytes, data: bytes) -> bool:
        """Add a chunk to the answer; return whether it says more than the usage."""
        try:
            chunk = document.read(data)
            self._assembly.add(chunk)
        except (ValueError, RecursionError):  # it goes to the client all the same: this reader is no judge
            self._sound = False
            return True
        if name == b"error" or chunk.get("error") or chunk.get("object") == "error":
            self._sound = False
        return bool(chunk.get("choices")) or not chunk.get("usage")
