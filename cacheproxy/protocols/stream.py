"""What the readers of event streams share: events are cut out, read, and passed on, but for the end."""

from cacheproxy.protocols import sse


class EventReader:
    """Passes every event on as it comes, but the closing one and all after it, which `tail` has.

    A subclass reads the events; it sets `finished` when it meets the closing one, and `sound` to False when
    what came can be no part of an answer.
    """

    max_event_bytes = 16 * 1024 * 1024  # images come inside deltas; beyond this, what comes is no event

    def __init__(self) -> None:
        self.finished = False
        self.sound = True
        self._events = sse.EventSplitter()
        self._held_back: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """Return what may go to the client now."""
        passed = b"".join([event for event in self._events.feed(chunk) if self._passes(event)])
        if self.finished or self.closes_unended():
            self.finished = True
            self._held_back.append(self._events.take())
        elif self._events.size > self.max_event_bytes:
            self.sound = False
            passed += self._events.take()
        return passed

    def tail(self) -> bytes:
        """Return the held-back end; a closing event whose line ends have not come gets them."""
        end = b"".join(self._held_back) + self._events.pending
        if self.finished and end and not end.endswith(sse.ENDS):
            end += b"\n" if end.endswith(b"\n") else b"\n\n"
        return end

    def closes_unended(self) -> bool:
        """Return whether the begun event is the closing one, though its line ends have not come."""
        return False

    def read(self, name: bytes, data: bytes) -> bool:
        """Take in one event; return whether it goes to the client now.

        What does not is held back if it closes the stream, and is else left out.
        """
        raise NotImplementedError

    def _passes(self, event: bytes) -> bool:
        if not self.finished:
            name, data = sse.fields(event)
            passes = not data or self.read(name, data)
            if passes or not self.finished:
                return passes
        self._held_back.append(event)
        return False
