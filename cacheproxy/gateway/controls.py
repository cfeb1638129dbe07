"""What a client may say about the cache for one call: ``Cache-Control`` and ``X-Zerorate-Session``.

``no-cache`` asks the upstream and refreshes the stored answer; ``no-store`` neither reads nor writes. The outcome
of both is ``bypass``: the tokens are computed and charged like a miss's, but the call says nothing about how
well the cache works. ``max-age=N`` takes no answer older than N seconds; ``only-if-cached`` never asks the
upstream. Directives that we do not know are ignored, as RFC 9111 wants it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from cacheproxy.gateway.errors import BadRequest

MAX_SESSION_BYTES = 256


class Controls(NamedTuple):
    """The cache controls of one call."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age_seconds: int | None = None
    session: bytes = b""

    @property
    def may_read(self) -> bool:
        """Whether a stored answer may be given."""
        return not (self.no_cache or self.no_store)


PLAIN = Controls()


def read_controls(headers: Mapping[bytes, bytes]) -> Controls:
    """Return the controls in *headers* (names in lower case).

    Raises:
        BadRequest: ``max-age`` is not a number of seconds, or the session's name is too long.
    """
    cache_control = headers.get(b"cache-control")
    session = headers.get(b"x-zerorate-session", b"")
    if cache_control is None and not session:
        return PLAIN
    if len(session) > MAX_SESSION_BYTES:
        raise BadRequest(
            f"X-Zerorate-Session is longer than {MAX_SESSION_BYTES} bytes.", code="invalid_header"
        )
    directives = _directives(cache_control or b"")
    return Controls(
        no_cache=b"no-cache" in directives,
        no_store=b"no-store" in directives,
        only_if_cached=b"only-if-cached" in directives,
        max_age_seconds=_seconds(directives.get(b"max-age")),
        session=session,
    )


def _directives(cache_control: bytes) -> dict[bytes, bytes]:
    pairs = (directive.partition(b"=") for directive in cache_control.lower().split(b","))
    return {name.strip(): value.strip(b' \t"') for name, _, value in pairs}


def _seconds(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise BadRequest(
            "Cache-Control: max-age takes a number of seconds, as in 'max-age=60'.", code="invalid_header"
        )
    return int(value)
