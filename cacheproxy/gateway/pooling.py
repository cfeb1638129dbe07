"""What a pool's hit does not tell: whose the answer is, and when it was asked for.

Members of a pool have agreed to learn that one of them asked the same. Nothing that a hit of another tenant's answer
says makes more of it, and where the pool pads its hits, not even the time that it takes.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from cacheproxy.cache.answer import StoredAnswer
from cacheproxy.gateway.call import Header
from cacheproxy.gateway.flight.work import Found
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols import document
from cacheproxy.protocols.request import Dialect

MAX_PAD_SECONDS = 60.0
"""An answer that took its upstream longer is not held back any longer."""

_KIND_OF_ID = re.compile("[a-z]+[-_]")
POOL_HIT: Header = (b"cache-status", b"zerorate; hit; detail=exact")


def pool_status(found: Found) -> Header:
    """Return the `Cache-Status` of a pool's hit: not what time it has left, nor that its time was over just now."""
    if found.how != "stale":
        return b"cache-status", b"zerorate; hit; detail=" + found.how.encode()
    if found.because == "stale-if-error":
        return b"cache-status", b"zerorate; hit; fwd=stale; detail=stale-if-error"
    return POOL_HIT


def note_of_pool(ask: Ask, hits: Iterable[StoredAnswer], note: bytes | None) -> bytes | None:
    """Return what the event says of a hit, and the pool where another tenant paid: its tenant is not told by whom."""
    if ask.facts.pool is None or not any(map(ask.is_anothers, hits)):
        return note
    return document.write({**(document.read(note) if note else {}), "pool": ask.facts.pool.name})


def anonymous(dialect: Dialect, parsed: Any) -> Any:
    """Return a parsed answer that tells nothing of the computation it came from: another id, and no instant."""
    if not isinstance(parsed, dict) or parsed.keys().isdisjoint(dialect.identity):
        return parsed
    return {name: _other(value) if name in dialect.identity else value for name, value in parsed.items()}


def _other(value: Any) -> Any:
    if not isinstance(value, str):
        return 0
    kind = _KIND_OF_ID.match(value)
    return f"{kind[0] if kind else ''}{uuid4().hex}"


async def hold_back(ask: Ask, stored: StoredAnswer) -> None:
    """Wait, where another tenant paid for an answer and the pool pads its hits, for as long as the upstream took."""
    if ask.facts.pads and ask.is_anothers(stored):
        await asyncio.sleep(min(stored.took_us / 1e6, MAX_PAD_SECONDS))
