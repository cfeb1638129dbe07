"""The events of a streamed response: read, and written from a kept one.

The closing event says the whole response once more, so nothing has to be put together; only of a stream that
breaks off the texts are needed, to be metered.
"""

from collections.abc import Iterator
from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.openai.fields import objects
from cacheproxy.protocols.openai.stream import TypedReader
from cacheproxy.protocols.sse import named_frame

_CLOSING = ("response.completed", "response.incomplete", "response.failed")
_LATE = ("usage", "completed_at", "incomplete_details")
"""What a response that has only begun does not say yet."""

Event = tuple[str, dict[str, Any]]


class ResponseReader(TypedReader):
    """The state of one stream, as `cacheproxy.protocols.request.StreamReader` describes it."""

    def __init__(self) -> None:
        super().__init__()
        self._response: dict[str, Any] = {}
        self._said: list[str] = []
        self._thought: list[str] = []

    def take_in(self, kind: str, event: dict[str, Any]) -> None:
        """Keep what an event adds."""
        response, delta = event.get("response"), event.get("delta")
        if isinstance(response, dict):
            self._response = response
        if kind in _CLOSING:
            self.finished = True
            self.sound = self.sound and isinstance(response, dict) and kind != "response.failed"
        elif isinstance(delta, str):
            (self._thought if "reasoning" in kind else self._said).append(delta)

    def whole(self) -> dict[str, Any] | None:
        """Return the response."""
        return self._response

    def so_far(self) -> dict[str, Any]:
        """Return the response, of one that is not complete its texts."""
        if self.finished or not (self._said or self._thought):
            return self._response
        said, thought = (
            {"type": "output_text", "text": "".join(told)} for told in (self._said, self._thought)
        )
        items = [{"type": "reasoning", "content": [thought]}, {"type": "message", "content": [said]}]
        return {**self._response, "output": items}


def replay_response(response: dict[str, Any]) -> Iterator[bytes]:
    """Return the events from which OpenAI's clients put this response together: it begins, each item, it ends."""
    for number, (kind, fields) in enumerate(_events(response)):
        yield named_frame(kind, document.write({"type": kind, "sequence_number": number, **fields}))


def _events(response: dict[str, Any]) -> Iterator[Event]:
    late = {field: None for field in _LATE if field in response}
    begun = {**response, **late, "status": "in_progress", "output": []}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(objects(response["output"])):
        yield "response.output_item.added", {"output_index": index, "item": _begun(item)}
        at = {"item_id": item.get("id") or "", "output_index": index}
        for kind, fields in _inside(item):
            yield kind, {**at, **fields}
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield f"response.{response['status']}", {"response": response}


_GROWING = {
    "message": ("content",),
    "reasoning": ("summary", "content"),
    "function_call": ("arguments",),
    "custom_tool_call": ("input",),
}
"""What of an item comes after it was announced."""


_TOOL_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
_TEXTS = {"output_text": "text", "reasoning_text": "text", "refusal": "refusal"}
"""Where each kind of part has its text."""


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    """Return the item as it is announced: without what its own events will say."""
    later = {name: type(item[name])() for name in _GROWING.get(item.get("type", ""), ()) if item.get(name)}
    return {**item, **({"status": "in_progress"} if later and "status" in item else {}), **later}


def _inside(item: dict[str, Any]) -> Iterator[Event]:
    """Return what an item says; of kinds that no model writes piece by piece, nothing."""
    kind = item.get("type")
    if kind == "reasoning":
        for index, part in enumerate(objects(item.get("summary"))):
            yield from _summary(part, {"summary_index": index})
    if kind in ("message", "reasoning"):
        for index, part in enumerate(objects(item.get("content"))):
            yield from _part(part, {"content_index": index})
    elif kind in _TOOL_CALLS:
        field, name = _TOOL_CALLS[kind]
        yield f"{name}.delta", {"delta": item.get(field) or ""}
        yield f"{name}.done", {field: item.get(field) or ""}


def _summary(part: dict[str, Any], at: dict[str, int]) -> Iterator[Event]:
    text = part.get("text") or ""
    yield "response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}
    yield "response.reasoning_summary_text.delta", {**at, "delta": text}
    yield "response.reasoning_summary_text.done", {**at, "text": text}
    yield "response.reasoning_summary_part.done", {**at, "part": part}


def _part(part: dict[str, Any], at: dict[str, int]) -> Iterator[Event]:
    """Return a part of a message's or a thought's content: a text with its log-probs and notes, or a refusal."""
    kind = part.get("type", "")
    field = _TEXTS.get(kind, "")
    text, notes = part.get(field) or "", part.get("annotations") or []
    logprobs = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    later = {name: type(part[name])() for name in (field, "annotations", "logprobs") if part.get(name)}
    yield "response.content_part.added", {**at, "part": {**part, **later}}
    if text:
        yield f"response.{kind}.delta", {**at, "delta": text, **logprobs}
    for index, note in enumerate(notes):
        yield "response.output_text.annotation.added", {**at, "annotation_index": index, "annotation": note}
    if field:
        yield f"response.{kind}.done", {**at, field: text, **logprobs}
    yield "response.content_part.done", {**at, "part": part}
