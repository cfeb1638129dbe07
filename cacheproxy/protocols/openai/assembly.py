"""A plain answer from the chunks of its stream, with every field that the stream had.

Chunks say things in three ways. A choice's `delta` (chat), `text` (completions) and `logprobs` *grow*: text is
appended, lists are extended, items of a delta with an `index` continue the item of that index. Identity (`id`,
`created`, a tool call's `name`) is said once and stays. All else (finish reasons, usage, fields that providers
add) is *said again*: the last word counts, but silence (null or absence) takes nothing back.
"""

import abc
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

_IDENTITY = frozenset({"id", "type", "name", "role", "index", "format"})
_HEAD_IDENTITY = frozenset({"id", "object", "created", "model"})
_PADDING = "obfuscation"  # OpenAI's random text, there to hide the lengths of chunks from eavesdroppers
FAILED_ENDINGS = (None, "", "error")
"""Finish reasons that are none, or say that the upstream broke off (OpenRouter)."""


class Assembly(abc.ABC):
    """The answer as far as it has come. Subclasses are for each kind of answer."""

    kind = ""
    """What the plain answer calls itself."""
    empty_choice: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}

    @property
    def complete(self) -> bool:
        """Whether every choice that began has ended well."""
        choices = self._choices.values()
        return bool(choices) and all(choice.get("finish_reason") not in FAILED_ENDINGS for choice in choices)

    def add(self, chunk: Any) -> None:
        """Take in one chunk.

        Raises:
            ValueError: it is no chunk.
        """
        for field, value in _object(chunk).items():
            if field == "choices":
                for choice in _list(value):
                    self._add_choice(_object(choice))
            elif field == "usage":
                _say_again(self._usage, _object(value))
            elif field != _PADDING and (field not in _HEAD_IDENTITY or self._head.get(field) is None):
                _say_again(self._head, {field: value})

    def answer(self) -> dict[str, Any]:
        """Return the plain answer as far as it has come, {} before the first chunk."""
        if not self._head and not self._choices:
            return {"usage": self._usage} if self._usage else {}
        choices = [_settled_choice(self._choices[index]) for index in sorted(self._choices)]
        usage = {"usage": self._usage} if self._usage else {}
        return {**self._head, "object": self.kind, "choices": choices, **usage}

    def _add_choice(self, piece: dict[str, Any]) -> None:
        index = piece.get("index", 0)
        if type(index) is not int:
            raise ValueError(f"a choice's index is {index!r:.40}")
        choice = self._choices.setdefault(index, {"index": index, **deepcopy(self.empty_choice)})
        for field, value in piece.items():
            if field == "logprobs":
                _lengthen(choice, field, value)
            elif not self.grows(choice, field, value):
                _say_again(choice, {field: value})

    @abc.abstractmethod
    def grows(self, choice: dict[str, Any], field: str, piece: Any) -> bool:
        """Append what grows in a choice; return whether this field does."""


class ChatAssembly(Assembly):
    """A chat answer as far as it has come."""

    kind = "chat.completion"
    empty_choice = {"message": {}}

    def grows(self, choice: dict[str, Any], field: str, piece: Any) -> bool:
        """Append a delta to the message."""
        if field == "delta":
            _grow(choice["message"], _object(piece))
        return field == "delta"


class CompletionAssembly(Assembly):
    """A completion as far as it has come."""

    kind = "text_completion"
    empty_choice = {"text": ""}

    def grows(self, choice: dict[str, Any], field: str, piece: Any) -> bool:
        """Append to the text."""
        if field == "text":
            if not isinstance(piece, str | None):
                raise ValueError(f"a text is {piece!r:.40}")
            _grow(choice, {field: piece})
        return field == "text"


class _Text(list[str]):
    """Text that is still growing: pieces, for appending to a long string would copy it every time."""


def _grow(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for field, piece in delta.items():
        held = whole.get(field)
        if piece is None:
            whole.setdefault(field, None)
        elif field in _IDENTITY:
            whole[field] = held or piece
        elif isinstance(piece, str):
            if isinstance(held, _Text):
                held.append(piece)
            else:
                whole[field] = _Text([piece])
        elif isinstance(piece, dict):
            if not isinstance(held, dict):
                held = whole[field] = {}
            _grow(held, piece)
        elif isinstance(piece, list):
            if not isinstance(held, list) or isinstance(held, _Text):
                held = whole[field] = []
            _extend(held, piece)
        else:
            whole[field] = piece


def _lengthen(choice: dict[str, Any], name: str, piece: Any) -> None:
    """Append to every list of an object; nothing in these lists continues."""
    held = choice.get(name)
    if piece is None:
        choice.setdefault(name, None)
        return
    if not isinstance(held, dict):
        held = choice[name] = {}
    for field, value in _object(piece).items():
        if isinstance(value, list) and isinstance(held.get(field), list):
            held[field].extend(value)
        elif value is not None or field not in held:
            held[field] = value


def _extend(items: list[Any], pieces: list[Any]) -> None:
    """Append the pieces, but for those with an index: they continue the item of that index, if it began."""
    for piece in pieces:
        index = piece.get("index") if isinstance(piece, dict) else None
        if type(index) is not int:
            items.append(piece)
            continue
        begun = (item for item in reversed(items) if isinstance(item, dict) and item.get("index") == index)
        item = next(begun, None)
        if item is None:
            item = {}
            items.append(item)
        _grow(item, piece)


def _say_again(whole: dict[str, Any], said: dict[str, Any]) -> None:
    for field, value in said.items():
        held = whole.get(field)
        if isinstance(held, dict) and isinstance(value, dict):
            _say_again(held, value)
        elif value is not None or held is None:
            whole[field] = value


def _settled_choice(choice: dict[str, Any]) -> dict[str, Any]:
    choice = _settled(choice)
    calls = choice["message"].get("tool_calls") if "message" in choice else None
    if calls:
        choice["message"]["tool_calls"] = [_without_index(call) for call in sorted(calls, key=_index)]
    return choice


def _settled(value: Any) -> Any:
    """Return the value with all growing text joined."""
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, dict):
        return {field: _settled(inner) for field, inner in value.items()}
    if isinstance(value, list):
        return [_settled(inner) for inner in value]
    return value


def _index(call: Any) -> int:
    """Return where a tool call stands; the plain answer says so by its order alone."""
    index = call.get("index") if isinstance(call, dict) else None
    return index if type(index) is int else 0


def _without_index(call: Any) -> Any:
    return (
        {field: value for field, value in call.items() if field != "index"}
        if isinstance(call, dict)
        else call
    )


def _object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.40} is no object")  # noqa: TRY004 (malformed input, not misuse)
    return value


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} is no list")  # noqa: TRY004 (malformed input, not misuse)
    return value
