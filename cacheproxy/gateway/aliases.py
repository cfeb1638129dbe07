"""What other gateways call our cache controls, so that their customers change a base URL and nothing else.

Only what has an honest mapping is here; docs/api.md has the table, and names what is ignored and why. A value
that its header or field does not take is refused, because a control that is silently dropped answers from the
cache where a fresh answer was asked for, or the reverse. Sources: the vendors' own documentation, and for
LiteLLM its code, where the two disagree.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cacheproxy.gateway.errors import BadRequest

MAX_NAME_BYTES = 256
"""The longest session or namespace."""
MAX_DIGITS = 18


class Alias(NamedTuple):
    """The field of `Controls` that a header or body field speaks of, and how its value is read.

    ``read`` is given the name and the value, and returns None where the value asks for nothing.
    """

    field: str
    read: Callable[[str, Any], Any]


def _refuse_header(name: str, takes: str) -> BadRequest:
    return BadRequest(f"{name} takes {takes}.", code="invalid_header")


def _refuse_field(name: str, takes: str) -> BadRequest:
    return BadRequest(f"cache.{name} takes {takes}.", code="invalid_field", param=f"cache.{name}")


def _switch(name: str, value: bytes) -> bool:
    word = value.strip().lower()
    if word not in {b"true", b"false"}:
        raise _refuse_header(name, "'true' or 'false'")
    return word == b"true"


def on(name: str, value: bytes) -> bool | None:
    """Return True for ``true``, None for ``false``.

    Raises:
        BadRequest: it is neither.
    """
    return _switch(name, value) or None


def _off(name: str, value: bytes) -> bool | None:
    return None if _switch(name, value) else True


def _lifetime(name: str, value: bytes) -> int:
    digits = value.strip()
    if not digits.isdigit() or len(digits) > MAX_DIGITS or not int(digits):
        raise _refuse_header(name, "a number of seconds, at least 1")
    return int(digits)


def _name(name: str, value: bytes) -> bytes | None:
    if len(value) > MAX_NAME_BYTES:
        raise _refuse_header(name, f"at most {MAX_NAME_BYTES} bytes")
    return value or None


def _true(name: str, value: Any) -> bool | None:
    if not isinstance(value, bool):
        raise _refuse_field(name, "true or false")
    return value or None


def _false(name: str, value: Any) -> bool | None:
    return None if _true(name, value) else True


def _at_least(least: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        if type(value) is not int or not least <= value < 10**MAX_DIGITS:
            raise _refuse_field(name, f"a whole number of seconds, at least {least}")
        return value

    return read


def _text(name: str, value: Any) -> bytes | None:
    if not isinstance(value, str) or len(value.encode()) > MAX_NAME_BYTES:
        raise _refuse_field(name, f"a text of at most {MAX_NAME_BYTES} bytes")
    return value.encode() or None


HEADERS: Mapping[bytes, Alias] = {
    b"x-openrouter-cache": Alias("no_store", _off),
    b"x-openrouter-cache-ttl": Alias("ttl_seconds", _lifetime),
    b"x-openrouter-cache-clear": Alias("no_cache", on),
    b"cf-aig-skip-cache": Alias("no_cache", on),
    b"cf-aig-cache-ttl": Alias("ttl_seconds", _lifetime),
    b"cf-aig-cache-key": Alias("namespace", _name),
    b"helicone-cache-enabled": Alias("no_store", _off),
    b"helicone-cache-seed": Alias("namespace", _name),
    b"x-portkey-cache-force-refresh": Alias("no_cache", on),
    b"x-portkey-cache-namespace": Alias("namespace", _name),
}
HELICONE = (b"helicone-cache-enabled", b"helicone-cache-seed")
"""Beside one of these ``Cache-Control: max-age`` is Helicone's, whose customers mean the time to live by it."""

BODY_FIELD = "cache"
"""LiteLLM's object in the body."""
FIELDS: Mapping[str, Alias] = {
    "no-cache": Alias("no_cache", _true),
    "no-store": Alias("no_store", _true),
    "use-cache": Alias("no_store", _false),
    "ttl": Alias("ttl_seconds", _at_least(1)),
    "s-max-age": Alias("max_age_seconds", _at_least(0)),
    "s-maxage": Alias("max_age_seconds", _at_least(0)),
    "namespace": Alias("namespace", _text),
}


def in_headers(headers: Mapping[bytes, bytes], known: Mapping[bytes, Alias]) -> list[tuple[str, Any]]:
    """Return (field of `Controls`, value) for each of the *known* headers that is there and asks for something.

    Raises:
        BadRequest: a value is not what its header takes.
    """
    stated = [
        (alias.field, alias.read(name.decode(), headers[name]))
        for name, alias in known.items()
        if name in headers
    ]
    return [(field, value) for field, value in stated if value is not None]


def in_body(document: Any) -> list[tuple[str, Any]]:
    """Return (field of `Controls`, value) for each alias in a parsed body's ``cache`` object.

    Raises:
        BadRequest: a value is not what its field takes.
    """
    if not has_body_object(document):
        return []
    cache = document[BODY_FIELD]
    stated = [
        (alias.field, alias.read(name, cache[name]))
        for name, alias in FIELDS.items()
        if cache.get(name) is not None
    ]
    return [(field, value) for field, value in stated if value is not None]


def has_body_object(document: Any) -> bool:
    """Return whether a parsed body has a ``cache`` object. A ``cache`` of any other type is the upstream's affair."""
    return isinstance(document, dict) and isinstance(document.get(BODY_FIELD), dict)
