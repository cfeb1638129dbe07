"""Server-sent events (the WHATWG's format), cut out of a stream of bytes without changing one."""

import re

_LINE_END = rb"(?:\n|\r\n|\r(?!\Z))"
_END = re.compile(rb"\n%b|\r(?:\n%b|\r\n|\r(?!\Z))" % (_LINE_END, _LINE_END))
"""Two line ends. A carriage return at the very end of what came may be half of one, so it must wait.

Spelled out by first byte, for then `re` skips to it: this is the hot loop of every stream.
"""
_LONGEST_END = 4
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventSplitter:
    """Cuts a stream, in chunks of any size, into complete events. `pending` is the begun one."""

    def __init__(self) -> None:
        self.pending = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that the chunk completes, ends included; with `pending` they are all bytes."""
        text = self.pending + chunk
        events, start = [], 0
        for end in _END.finditer(text, max(0, len(self.pending) - _LONGEST_END + 1)):
            events.append(text[start : end.end()])
            start = end.end()
        self.pending = text[start:]
        return events

    def take(self) -> bytes:
        """Return the begun event and forget it."""
        pending, self.pending = self.pending, b""
        return pending


def fields(event: bytes) -> tuple[bytes, bytes]:
    """Return an event's name (empty for none) and its data, lines joined; both are empty for a comment."""
    name, data = b"", []
    for line in event.removeprefix(_BYTE_ORDER_MARK).splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return name, b"\n".join(data)


def frame(data: bytes) -> bytes:
    """Return data of one line as an event."""
    return b"data: " + data + b"\n\n"
