"""Anthropic's message stream, read beside its way to the client."""

from typing import Any

from cacheproxy.protocols import document, sse
from cacheproxy.protocols.anthropic.assembly import MessageAssembly
from cacheproxy.protocols.stream import EventReader

_CLOSING = "message_stop"
_LONGEST_CLOSING = 256


class MessageStreamReader(EventReader):
    """The state of one stream, as `cacheproxy.protocols.request.StreamReader` describes it.

    `message_stop` is held back. An `error` ends the stream as well, but nothing hangs on it: it goes on at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._assembly = MessageAssembly()

    def closes_unended(self) -> bool:
        """Return whether `message_stop` has come without its line ends."""
        return 0 < self._events.size < _LONGEST_CLOSING and _closes(self._events.pending)

    def answer(self) -> bytes | None:
        """Return the whole stream as a plain message, or None."""
        whole = self.finished and self.sound and self._assembly.complete
        return document.write(self.so_far()) if whole else None

    def so_far(self) -> dict[str, Any]:
        """Return the plain message as far as it came."""
        return self._assembly.answer()

    def read(self, name: bytes, data: bytes) -> bool:
        """Add an event to the message."""
        try:
            event = document.read(data)
            kind = event.get("type")
            if name == b"error" or kind == "error":
                self.finished, self.sound = True, False
            elif kind == _CLOSING:
                self.finished = True
                return False
            else:
                self._assembly.add(event)
        except (
            ValueError,
            AttributeError,
            TypeError,
        ):  # the client gets it all the same: this reader is no judge
            self.sound = False
        return True


def _closes(event: bytes) -> bool:
    """Return whether the event, ended or not, is the closing one."""
    if _CLOSING.encode() not in event:  # a text may speak of it; only then is it looked at closely
        return False
    try:
        return bool(document.read(sse.fields(event)[1])["type"] == _CLOSING)
    except (ValueError, LookupError, TypeError):
        return False
