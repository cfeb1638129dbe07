"""Server-sent events (the WHATWG's format), cut out of a stream of bytes without changing one."""

import re

_LINE_END = rb"(?:\n|\r\n|\r(?!\Z))"
_END = re.compile(rb"\n%b|\r(?:\n%b|\r\n|\r(?!\Z))" % (_LINE_END, _LINE_END))
"""Two line ends. A carriage return at the very end of what came may be half of one, so it must wait.

Spelled out by first byte, for then `re` skips to it: this is the hot loop of every stream.
"""
_LONGEST_END = 4
ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
"""What an event ends with, where its line ends are of one kind."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventSplitter:
    """Cuts a stream, in chunks of any size, into complete events. `size` counts the bytes of the begun one.

    The begun event is kept in pieces, for it may be long and come a byte at a time.
    """

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []
        self._overlap = b""

    @property
    def pending(self) -> bytes:
        """The begun event."""
        return b"".join(self._pieces)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that the chunk completes, ends included; with `pending` they are all bytes."""
        searched = self._overlap + chunk
        ends = [end.end() for end in _END.finditer(searched)]
        self._pieces.append(chunk)
        self.size += len(chunk)
        if not ends:
            self._overlap = searched[1 - _LONGEST_END :]
            return []
        text = self.take()
        events, start, ahead = [], 0, len(text) - len(searched)
        for end in ends:
            events.append(text[start : ahead + end])
            start = ahead + end
        if rest := text[start:]:
            self._pieces, self.size, self._overlap = [rest], len(rest), rest[1 - _LONGEST_END :]
        return events

    def take(self) -> bytes:
        """Return the begun event and forget it."""
        pending = self.pending
        self._pieces, self.size, self._overlap = [], 0, b""
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


def named_frame(name: str, data: bytes) -> bytes:
    """Return data of one line as an event that has a name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
