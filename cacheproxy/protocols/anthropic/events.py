"""Anthropic's events: named by the `type` of their data, which clients need in both places."""

from typing import Any

from cacheproxy.protocols import document


def event(kind: str, **fields: Any) -> bytes:
    """Return an event of this type."""
    return named(kind, document.write({"type": kind, **fields}))


def named(kind: str, data: bytes) -> bytes:
    """Return data of one line as an event of this name."""
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
