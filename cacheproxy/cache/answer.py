"""A stored answer: the bytes of a complete, successful answer and what it is worth."""

from typing import Any, Literal
from uuid import UUID

import msgspec

from cacheproxy.cache.epochs import Tagged
from metering.tokens import TokenPools

KeptQuality = Literal["reported", "estimated"]
QUALITIES: tuple[KeptQuality, ...] = ("reported", "estimated")
"""Suspect usage is never stored: its hits could not be priced."""

MAX_ANSWER_BYTES = 8 << 20
"""A larger body is kept nowhere, unless a setting says otherwise."""
Headers = tuple[tuple[bytes, bytes], ...]


class StoredAnswer(msgspec.Struct, gc=False):
    """One answer in the cache, with the usage that its miss had. Shared between calls: only ``memo`` may change.

    The garbage collector does not look at it: there are very many, and nothing in it refers to it.
    """

    body: bytes
    source_event: UUID
    stored_at_ms: int
    expires_at_ms: int
    pools: TokenPools
    output_reasoning: int
    units: int
    quality: KeptQuality
    headers: Headers = ((b"content-type", b"application/json"),)
    """Without these the body could not be read: its content type, and what its dialect keeps."""
    stale_until_ms: int = 0
    """Until when it may be given once it has expired; 0: never."""
    took_us: int = 0
    """How long the upstream took to give it; 0: that is not known."""
    tagged: Tagged | None = None
    """By what it can be invalidated beside its key."""
    paid_by: int = 0
    """The tenant whose call paid for it, in a pool; 0: no other tenant can get it."""
    memo: Any = None
    """Room for its reader to keep what it worked out of the rest."""

    @property
    def kept_until_ms(self) -> int:
        """When it is of no use any more."""
        return max(self.expires_at_ms, self.stale_until_ms)

    def may_stand_in(self, now_ms: int, max_stale_seconds: int) -> bool:
        """Return whether it may be given, stale or not: it is fresh, or expired by up to *max_stale_seconds*."""
        return now_ms < max(
            self.expires_at_ms, min(self.stale_until_ms, self.expires_at_ms + 1000 * max_stale_seconds)
        )

    def age_seconds(self, now_ms: int) -> int:
        """Return how old the answer is."""
        return max(0, now_ms - self.stored_at_ms) // 1000
