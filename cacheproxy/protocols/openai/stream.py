"""The streams of OpenAI's surfaces, read beside their way to the client.

Chat and completions come as *chunks* of an answer and close with `[DONE]`; all else comes as *typed* events, of
which one type closes the stream and says the answer once more, whole.
"""

import abc
from typing import Any

from cacheproxy.protocols import document, sse
from cacheproxy.protocols.openai.assembly import Assembly
from cacheproxy.protocols.stream import EventReader

CLOSING = b"[DONE]"
_CLOSING_LINE = b"data: [DONE]\r\n"


class ChunkReader(EventReader):
    """The state of one stream of chunks, as `cacheproxy.protocols.request.StreamReader` describes it."""

    def __init__(self, assembly: Assembly, *, wants_usage: bool) -> None:
        super().__init__()
        self._wants_usage = wants_usage
        self._assembly = assembly

    def closes_unended(self) -> bool:
        """Return whether `[DONE]` has come, as some servers send it, without an empty line."""
        return self._events.size < 2 * len(_CLOSING_LINE) and sse.fields(self._events.pending) == (
            b"",
            CLOSING,
        )

    def answer(self) -> bytes | None:
        """Return the whole stream as a plain answer, or None."""
        whole = self.finished and self.sound and self._assembly.complete
        return document.write(self.so_far()) if whole else None

    def so_far(self) -> dict[str, Any]:
        """Return the plain answer as far as it came."""
        return self._assembly.answer()

    def read(self, name: bytes, data: bytes) -> bool:
        """Add a chunk to the answer; a usage that was not asked for does not go to the client."""
        if data == CLOSING:
            self.finished = True
            return False
        return self._take_in(name, data) or self._wants_usage

    def _take_in(self, name: bytes, data: bytes) -> bool:
        """Add a chunk to the answer; return whether it says more than the usage."""
        try:
            chunk = document.read(data)
            if name == b"error" or chunk.get("error") or chunk.get("object") == "error":
                self.sound = False
            self._assembly.add(chunk)
        except (ValueError, AttributeError, RecursionError):
            self.sound = False  # it goes to the client all the same: this reader is no judge
            return True
        return bool(chunk.get("choices")) or not chunk.get("usage")


class TypedReader(EventReader):
    """What readers of typed events share. An `error` ends the stream, too, but goes on to the client at once."""

    @abc.abstractmethod
    def take_in(self, kind: str, event: dict[str, Any]) -> None:
        """Add an event of this type to the answer.

        Raises:
            ValueError: it is none of this surface.
        """

    @abc.abstractmethod
    def whole(self) -> dict[str, Any] | None:
        """Return the answer that the closing event told, None where it told of none."""

    def answer(self) -> bytes | None:
        """Return the whole stream as a plain answer, or None."""
        whole = self.whole() if self.finished and self.sound else None
        return None if whole is None else document.write(whole)

    def read(self, name: bytes, data: bytes) -> bool:
        """Take in an event."""
        if data == CLOSING:
            self.finished = True
            return False
        try:
            event = document.read(data)
            kind = event.get("type") or event.get("object")
            if name == b"error" or kind == "error" or event.get("error"):
                self.finished, self.sound = True, False
                return True
            self.take_in(str(kind), event)
        except (ValueError, AttributeError, RecursionError):
            self.sound = False  # as above
        return not self.finished
