"""What a client may say about the cache for one call: ``Cache-Control``, ``X-Zerorate-Session`` and other names for it.

``no-cache`` asks the upstream and refreshes the stored answer; ``no-store`` neither reads nor writes. The outcome
of both is ``bypass``: the tokens are computed and charged like a miss's, but the call says nothing about how
well the cache works. ``max-age=N`` takes no answer older than N seconds, ``min-fresh=N`` none that expires sooner than
that; ``max-stale`` takes expired answers too, and ``stale-if-error=N`` those where the upstream fails, as far as they
are kept; ``only-if-cached`` never asks the upstream. Directives that we do not know are ignored, as RFC 9111 wants it.
``X-Zerorate-Cache-Tags`` names what the answer can be invalidated by, ``X-Zerorate-Show-Key`` asks for its key.

Other gateways' names for the same (`aliases.py`) are read as well. Whoever states a thing twice gets the stricter:
reading or storing that is ruled out once stays ruled out, the shorter time to live counts, namespaces nest. Only
an age in our own ``Cache-Control`` takes the place of an alias's.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from cacheproxy.gateway import aliases
from cacheproxy.gateway.errors import BadRequest
from cacheproxy.policy import MAX_TAG_BYTES, MAX_TAGS

MAX_SESSION_BYTES = aliases.MAX_NAME_BYTES
ANY = 10**aliases.MAX_DIGITS
"""Seconds that a `max-stale` without a number stands for."""
_is_tag = re.compile(rb"[!-+\--~]{1,%d}" % MAX_TAG_BYTES).fullmatch


def _tags(name: str, value: bytes) -> tuple[bytes, ...]:
    stated = {tag.strip(b" \t") for tag in value.split(b",")} - {b""}
    if len(stated) > MAX_TAGS or not all(map(_is_tag, stated)):
        takes = f"up to {MAX_TAGS} tags of {MAX_TAG_BYTES} visible ASCII characters, separated by commas"
        raise BadRequest(f"{name} takes {takes}.", code="invalid_header")
    return tuple(sorted(stated))


OWN: Mapping[bytes, aliases.Alias] = {
    b"x-zerorate-cache-tags": aliases.Alias("tags", _tags),
    b"x-zerorate-show-key": aliases.Alias("show_key", aliases.on),
}
_HEADERS = {**aliases.HEADERS, **OWN}
none_in: Callable[[Mapping[bytes, bytes]], bool] = frozenset(_HEADERS).isdisjoint
"""The one test that calls without such headers pay for."""


class Controls(NamedTuple):
    """The cache controls of one call."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age_seconds: int | None = None
    min_fresh_seconds: int | None = None
    max_stale_seconds: int | None = None
    stale_if_error_seconds: int | None = None
    session: bytes = b""
    ttl_seconds: int | None = None
    """How long this call's answer is kept, where that is shorter than the policy's time to live; at least 1."""
    namespace: bytes = b""
    """A further part of whose answers these are, beside the tenant, the key and the session."""
    tags: tuple[bytes, ...] = ()
    """What the answer can be invalidated by; in the order of their bytes."""
    show_key: bool = False
    """Whether the client wants to see the answer's key."""

    @property
    def may_read(self) -> bool:
        """Whether a stored answer may be given."""
        return not (self.no_cache or self.no_store)

    @property
    def dates(self) -> bool:
        """Whether the client says anything of when an answer may have been stored."""
        return self.limits_age or self.max_stale_seconds is not None

    @property
    def limits_age(self) -> bool:
        """Whether not every answer is fresh enough that the policy takes for fresh."""
        return self.max_age_seconds is not None or self.min_fresh_seconds is not None


PLAIN = Controls()


def read_controls(headers: Mapping[bytes, bytes]) -> Controls:
    """Return the controls in *headers* (names in lower case).

    Raises:
        BadRequest: ``max-age``, one of its like or an alias has a value that it does not take, or a name is too long.
    """
    cache_control = headers.get(b"cache-control")
    session = headers.get(b"x-zerorate-session", b"")
    if cache_control is None and not session:
        return PLAIN if none_in(headers) else _stated(PLAIN, aliases.in_headers(headers, _HEADERS))
    if len(session) > MAX_SESSION_BYTES:
        raise BadRequest(
            f"X-Zerorate-Session is longer than {MAX_SESSION_BYTES} bytes.", code="invalid_header"
        )
    directives = _directives(cache_control or b"")
    own = Controls(
        no_cache=b"no-cache" in directives,
        no_store=b"no-store" in directives,
        only_if_cached=b"only-if-cached" in directives,
        max_age_seconds=_seconds(directives, b"max-age"),
        min_fresh_seconds=_seconds(directives, b"min-fresh"),
        max_stale_seconds=ANY if directives.get(b"max-stale") == b"" else _seconds(directives, b"max-stale"),
        stale_if_error_seconds=_seconds(directives, b"stale-if-error"),
        session=session,
    )
    if none_in(headers):
        return own
    if own.max_age_seconds and any(name in headers for name in aliases.HELICONE):
        own = own._replace(ttl_seconds=own.max_age_seconds)
    return _stated(own, aliases.in_headers(headers, _HEADERS))


has_controls = aliases.has_body_object


def controls_of(document: Any) -> Controls:
    """Return the controls in a parsed body: LiteLLM's ``cache`` object. Not for bodies whose fields are the model's.

    Raises:
        BadRequest: a field of the object has a value that it does not take.
    """
    return _stated(PLAIN, aliases.in_body(document))


def without_controls(document: Any) -> Any:
    """Return a parsed body without what `controls_of` reads, as it is keyed and goes upstream."""
    if not aliases.has_body_object(document):
        return document
    return {name: value for name, value in document.items() if name != aliases.BODY_FIELD}


def merge(header_controls: Controls, body_controls: Controls) -> Controls:
    """Return what headers and body ask for together."""
    if body_controls is PLAIN:
        return header_controls
    return _stated(header_controls, body_controls._asdict().items())


def _stated(controls: Controls, stated: Iterable[tuple[str, Any]]) -> Controls:
    for field, value in stated:
        if _says_something(value):
            controls = controls._replace(**{field: _together(field, getattr(controls, field), value)})
    return controls


def _together(field: str, known: Any, value: Any) -> Any:
    if not _says_something(known):
        return value
    if field == "ttl_seconds":
        return min(known, value)
    if field == "namespace":
        return b"%d:%b/%b" % (len(known), known, value)  # framed, so that no two pairs read the same
    return known


def _says_something(value: Any) -> bool:
    return value is not None and value is not False and value not in (b"", ())  # an age of 0 does


def _directives(cache_control: bytes) -> dict[bytes, bytes]:
    pairs = (directive.partition(b"=") for directive in cache_control.lower().split(b","))
    return {name.strip(): value.strip(b' \t"') for name, _, value in pairs}


def _seconds(directives: Mapping[bytes, bytes], name: bytes) -> int | None:
    value = directives.get(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > aliases.MAX_DIGITS:
        said = name.decode()
        raise BadRequest(
            f"Cache-Control: {said} takes a number of seconds, as in '{said}=60'.", code="invalid_header"
        )
    return int(value)
