"""Anthropic's events: named by the `type` of their data, which clients need in both places."""

from typing import Any

from cacheproxy.protocols import document
from cacheproxy.protocols.sse import named_frame


def event(kind: str, **fields: Any) -> bytes:
    """Return an event of this type."""
    return named_frame(kind, document.write({"type": kind, **fields}))
