"""A target as calls reach it: where to connect, and the head of a call, joined once for all calls alike."""

import re
from base64 import b64encode
from urllib.parse import SplitResult, quote, unquote, urlsplit

from cacheproxy.gateway.catalog.catalog import Target
from cacheproxy.gateway.upstreams.dialling import Origin
from cacheproxy.protocols.request import UpstreamCall

ANTHROPIC_VERSION = b"2023-06-01"
DEFAULTS = {
    b"accept": b"application/json, text/event-stream",
    b"accept-encoding": b"identity",
    b"user-agent": b"zerorate",
}
PORTS = {"http": 80, "https": 443}
MAX_HEADS = 256
"""Heads that are kept; where calls differ more, as with traces, each is joined anew."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_KEPT_IN_PATHS = "/%:@!$&'()*+,;=~"
_KEPT_IN_QUERIES = _KEPT_IN_PATHS + "?"


class Address:
    """A target, and what is the same for all calls to it."""

    __slots__ = ("_defaults", "_heads", "_host", "_over_all", "_path", "_query", "origin", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        url = urlsplit(target.url)
        self.origin = Origin(url.scheme == "https", url.hostname or "", url.port or PORTS[url.scheme])
        self._path, self._query = url.path, url.query
        self._host = _host(url)
        self._defaults = dict(DEFAULTS)
        self._over_all = _credentials(url)
        secret = target.secret.encode() if target.secret is not None else None
        if target.protocol == "anthropic":
            self._defaults[b"anthropic-version"] = ANTHROPIC_VERSION
            if secret is not None:
                self._over_all = {b"x-api-key": secret}
        elif secret is not None:
            self._over_all = {b"authorization": b"Bearer " + secret}
        self._heads: dict[tuple[str, str, tuple[tuple[bytes, bytes], ...], str | None], bytes] = {}

    def head(self, call: UpstreamCall, user_agent: str | None) -> bytes:
        """Return the head of *call* but for its end: the length of the body, and the empty line.

        Raises:
            ValueError: a header would not be one, because of what is in it.
        """
        kind = call.method, call.path, call.headers, user_agent
        head = self._heads.get(kind)
        if head is None:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            head = self._heads[kind] = self._joined(call, user_agent)
        return head

    def _joined(self, call: UpstreamCall, user_agent: str | None) -> bytes:
        headers = self._defaults.copy()
        if user_agent is not None:
            headers[b"user-agent"] = user_agent.encode("latin-1")
        headers |= {name.lower(): value for name, value in call.headers}
        headers |= self._over_all
        lines = [_line(name, value) for name, value in ((b"host", self._host), *headers.items())]
        method = call.method.encode("ascii")
        if not _NAME.fullmatch(method):
            raise ValueError("not a method")
        return b"%b %b HTTP/1.1\r\n%bcontent-length: " % (method, self._place(call.path), b"".join(lines))

    def _place(self, path: str) -> bytes:
        place = quote(self._path + path, safe=_KEPT_IN_PATHS) or "/"
        if self._query:
            place += "?" + quote(self._query, safe=_KEPT_IN_QUERIES)
        return place.encode("ascii")


def _host(url: SplitResult) -> bytes:
    """Return the value of the header `host`."""
    host, port = url.hostname or "", url.port
    name = b"[%b]" % host.encode("ascii") if ":" in host else host.encode("idna")
    return name if port in (None, PORTS[url.scheme]) else b"%b:%d" % (name, port)


def _credentials(url: SplitResult) -> dict[bytes, bytes]:
    if url.username is None:
        return {}
    name_and_password = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {b"authorization": b"Basic " + b64encode(name_and_password.encode())}


def _line(name: bytes, value: bytes) -> bytes:
    """Return the line of one header.

    Raises:
        ValueError: it would be more, or none. The value is not told: it may be a secret.
    """
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"the header {name!r} has characters that none may have")
    return b"%b: %b\r\n" % (name, value)
