"""A plain message from the events of its stream, with every field that the stream had.

Content blocks grow by deltas: text and thinking are appended, a tool's input comes as JSON in pieces, a
citation joins its list, a signature is said once. The message itself is said again at the end: the last word
counts, but silence (null or absence) takes nothing back.
"""

from collections.abc import Mapping
from typing import Any

from cacheproxy.protocols import document

_APPENDED = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
}
"""Kinds of delta whose text is appended, and their field that has it."""
_SAID = frozenset({"signature_delta", "compaction_delta"})
_IDENTITY = frozenset({"id", "type", "role", "model", "content", "usage"})
_GIVEN = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class MessageAssembly:
    """The message as far as it has come."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    @property
    def complete(self) -> bool:
        """Whether the message and every block of it have ended."""
        return bool(self._message.get("stop_reason")) and not any(
            block.open for block in self._blocks.values()
        )

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in one event.

        Raises:
            ValueError: it is none of Anthropic's, so nobody knows what it adds to the message.
        """
        match event.get("type"):
            case "message_start":
                self._message = dict(_object(event.get("message")))
            case "content_block_start":
                self._blocks[_index(event)] = _Block(_object(event.get("content_block")))
            case "content_block_delta":
                self._begun(event).grow(_object(event.get("delta")))
            case "content_block_stop":
                self._begun(event).end()
            case "message_delta":
                self._say_again(event)
            case "message_stop" | "ping":
                pass
            case kind:
                raise ValueError(f"{kind!r:.40} is no event")

    def answer(self) -> dict[str, Any]:
        """Return the plain message as far as it has come, {} before its start."""
        if not self._message:
            return {}
        return {**self._message, "content": [self._blocks[index].settled() for index in sorted(self._blocks)]}

    def _begun(self, event: Mapping[str, Any]) -> "_Block":
        block = self._blocks.get(_index(event))
        if block is None:
            raise ValueError("a block goes on that never began")
        return block

    def _say_again(self, event: Mapping[str, Any]) -> None:
        said = {**event, **_object(event.get("delta"))}
        news = {field: value for field, value in said.items() if field not in _IDENTITY and field != "delta"}
        self._message = _said(self._message, news)
        usage = event.get("usage")
        if usage is not None:
            self._message["usage"] = _usage(_object(self._message.get("usage") or {}), _object(usage))


class _Block:
    """A content block. What grows is kept in pieces, for appending to a long text would copy it every time."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self.open = True
        self._fields = dict(start)
        self._pieces: dict[str, list[str]] = {}

    def grow(self, delta: Mapping[str, Any]) -> None:
        """Take in one delta.

        Raises:
            ValueError: nobody knows what it adds.
        """
        kind = delta.get("type")
        if kind in _APPENDED:
            field = _APPENDED[kind]
            _text(self._fields.get(field) or "")
            self._pieces.setdefault(field, []).append(_text(delta.get(field)))
        elif kind == "citations_delta":
            if not self._fields.get("citations"):
                self._fields["citations"] = []
            self._fields["citations"].append(delta.get("citation"))
        elif kind in _SAID:
            self._fields |= {field: value for field, value in delta.items() if field != "type"}
        else:
            raise ValueError(f"{kind!r:.40} is no delta")

    def end(self) -> None:
        """Close the block: an input that came in pieces is whole now.

        Raises:
            ValueError: it is not JSON, as happens where the answer ends in its middle.
        """
        text = "".join(self._pieces.get("partial_json", ()))
        if text:
            self._fields["input"] = document.read(text.encode())
        self._pieces.pop("partial_json", None)
        self.open = False

    def settled(self) -> dict[str, Any]:
        """Return the block with all that grew joined; an input that is not whole is text."""
        settled = dict(self._fields)
        for field, pieces in self._pieces.items():
            if field == "partial_json":
                settled["input"] = "".join(pieces)
            else:
                settled[field] = "".join([settled.get(field) or "", *pieces])
        return settled


def _said(whole: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, Any]:
    news = {field: value for field, value in again.items() if value is not None or field not in whole}
    return {**whole, **news}


def _usage(start: Mapping[str, Any], end: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage that the end of a stream completes.

    Its counts are cumulative. Where the end makes the model's input less than the start did, it has forgotten
    what the start knew of the cache, as many a server does: then the start's input stands.
    """
    usage = _said(start, end)
    if _given(usage) < _given(start):
        usage |= {field: start[field] for field in _GIVEN if field in start}
    return usage


def _given(usage: Mapping[str, Any]) -> int:
    return sum(count for field in _GIVEN if type(count := usage.get(field)) is int)


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    if type(index) is not int:
        raise ValueError(f"a block's index is {index!r:.40}")
    return index


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")  # noqa: TRY004 (malformed input, not misuse)
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.40} is no object")  # noqa: TRY004 (malformed input, not misuse)
    return value
