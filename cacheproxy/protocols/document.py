"""JSON documents: read strictly, written canonically, pointed into (RFC 6901).

A *path* is a JSON Pointer in which the step `*` stands for every item of a list and every field of an object, as
in `/messages/*/name`. In a plain pointer it is a field's name like any other.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from cacheproxy.protocols.request import InvalidRequest

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
_canonical_encoder = msgspec.json.Encoder(order="sorted")


def read(body: bytes) -> Any:
    """Return what the JSON text says. Integers of any size stay exact, text is taken as it is.

    Raises:
        InvalidRequest: not JSON, not UTF-8, a number that no double holds, or nested too deeply.
    """
    try:
        return _decoder.decode(body)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None
    except ValueError as problem:
        raise InvalidRequest(f"The body is not valid JSON: {problem}", code="invalid_json") from problem


def write(document: Any) -> bytes:
    """Return the document as compact JSON, fields in their order."""
    return _encoder.encode(document)


def canonical(document: Any) -> bytes:
    """Return the one spelling that all JSON texts of this document share: compact, fields sorted.

    1 and 1.0 stay apart, and no text is normalised: equal spellings mean equal documents.

    Raises:
        InvalidRequest: nested too deeply.
    """
    try:
        return _canonical_encoder.encode(document)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None


def at(document: Any, pointer: str) -> Any:
    """Return the value that a JSON Pointer leads to.

    Raises:
        LookupError: there is nothing.
        ValueError: the pointer is malformed.
    """
    for step in _steps(pointer):
        document = document[_place(document, step)]
    return document


def put(document: Any, pointer: str, value: Any) -> Any:
    """Return the document with this value where the pointer leads, the given one unchanged.

    Raises:
        LookupError: there is nothing to put it in the place of.
        ValueError: the pointer is malformed.
    """
    return _put(document, _steps(pointer), value)


def without(document: Any, paths: Sequence[str]) -> Any:
    """Return the document without what the paths lead to, the given one unchanged.

    A field is left out; a list's item becomes null, so that its neighbours keep their places. Paths that
    lead nowhere do nothing.

    Raises:
        ValueError: a path is malformed.
    """
    for path in paths:
        document = _without(document, _steps(path))
    return document


def found(document: Any, path: str) -> Iterator[Any]:
    """Yield every value that a path leads to.

    Raises:
        ValueError: the path is malformed.
    """
    values = [document]
    for step in _steps(path):
        values = [value[place] for value in values for place in _places(value, step)]
    yield from values


def changed(document: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """Return the document with every value that a path leads to as *change* makes it, the given one unchanged.

    Raises:
        ValueError: the path is malformed.
    """
    return _changed(document, _steps(path), change)


def _put(document: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    place = _place(document, path[0])
    copy = document.copy()
    copy[place] = _put(document[place], path[1:], value)
    return copy


def _without(document: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return None
    places = _places(document, path[0])
    if not places:
        return document
    copy = document.copy()
    for place in places:
        if len(path) == 1 and isinstance(document, dict):
            del copy[place]
        else:
            copy[place] = _without(document[place], path[1:])
    return copy


def _changed(document: Any, path: tuple[str, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(document)
    places = _places(document, path[0])
    if not places:
        return document
    copy = document.copy()
    for place in places:
        copy[place] = _changed(document[place], path[1:], change)
    return copy


def _places(document: Any, step: str) -> Sequence[Any]:
    """Return what to index the document with to follow a path's step; nothing where it leads nowhere."""
    if step == "*":
        if isinstance(document, list):
            return range(len(document))
        return list(document) if isinstance(document, dict) else ()
    try:
        place = _place(document, step)
        document[place]
    except LookupError:
        return ()
    return (place,)


def _place(document: Any, step: str) -> str | int:
    """Return what to index the document with; a list counts without leading zeros (RFC 6901, section 4)."""
    if isinstance(document, dict):
        return step
    if isinstance(document, list) and step.isascii() and step.isdigit() and (step == "0" or step[0] != "0"):
        return int(step)
    raise LookupError(step)


@lru_cache(maxsize=1024)
def _steps(pointer: str) -> tuple[str, ...]:
    """Return the reference tokens of a JSON Pointer."""
    if not pointer:
        return ()
    if not pointer.startswith("/") or "~" in pointer.replace("~0", "").replace("~1", ""):
        raise ValueError(f"{pointer!r} is not a JSON Pointer such as /meta/timestamp")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/"))
