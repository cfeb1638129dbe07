"""Anthropic's message stream, read beside its way to the client."""

from typing import Any

from cacheproxy.protocols import document, sse
from cacheproxy.protocols.anthropic.assembly import MessageAssembly

MAX_EVENT_BYTES = 16 * 1024 * 1024  # documents come inside blocks; beyond this, what comes is no event
_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")


class MessageStreamReader:
    """The state of one stream, as `cacheproxy.protocols.request.StreamReader` describes it.

    `message_stop` is held back. An `error` ends the stream as well, but nothing hangs on it: it goes on at once.
    """

    def __init__(self) -> None:
        self.finished = False
        self._events = sse.EventSplitter()
        self._assembly = MessageAssembly()
        self._sound = True
        self._held_back: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """Return what may go to the client now."""
        passed = b"".join([event for event in self._events.feed(chunk) if self._passes(event)])
        if self.finished or self._closes(self._events.pending):
            self.finished = True
            self._held_back.append(self._events.take())
        elif len(self._events.pending) > MAX_EVENT_BYTES:
            self._sound = False
            passed += self._events.take()
        return passed

    def tail(self) -> bytes:
        """Return the held-back end; a closing event whose line ends have not come gets them."""
        end = b"".join(self._held_back) + self._events.pending
        return end + b"\n\n" if self._closes(end) and not end.endswith(_ENDS) else end

    def answer(self) -> bytes | None:
        """Return the whole stream as a plain message, or None."""
        whole = self.finished and self._sound and self._assembly.complete
        return document.write(self.so_far()) if whole else None

    def so_far(self) -> dict[str, Any]:
        """Return the plain message as far as it came."""
        return self._assembly.answer()

    def _passes(self, event: bytes) -> bool:
        """Read one event; return whether it goes to the client now."""
        if self.finished or self._closes(event):
            self.finished = True
            self._held_back.append(event)
            return False
        name, data = sse.fields(event)
        if data:
            self._take_in(name, data)
        return True

    def _closes(self, event: bytes) -> bool:
        """Return whether this is `message_stop`, its line ends come or not."""
        if b"message_stop" not in event:  # a text may speak of it; only then is it looked at closely
            return False
        try:
            return bool(document.read(sse.fields(event)[1])["type"] == "message_stop")
        except (ValueError, LookupError, TypeError):
            return False

    def _take_in(self, name: bytes, data: bytes) -> None:
        """Add an event to the message."""
        try:
            said = document.read(data)
            if name == b"error" or said.get("type") == "error":
                self._sound, self.finished = False, True
            else:
                self._assembly.add(said)
        except (ValueError, AttributeError, TypeError):  # the client gets it all the same
            self._sound = False
