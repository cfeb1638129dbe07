"""An expired answer in the place of a failure (RFC 5861): when it may, and how the call says so. Plain."""

import msgspec

from cacheproxy.cache.answer import StoredAnswer

FAILURES = frozenset({500, 502, 503, 504})
"""What the client would otherwise get, from the upstream or from us, that an expired answer may stand in for."""


def stale_until_ms(expires_at_ms: int, stale_if_error_seconds: int) -> int:
    """Return until when an answer that expires then may stand in for a failure; 0 where it never may."""
    return expires_at_ms + 1000 * stale_if_error_seconds if stale_if_error_seconds else 0


def cache_status(answer: StoredAnswer, now_ms: int, upstream_status: int | None) -> bytes:
    """Return the ``Cache-Status`` (RFC 9211) of an answer in the place of a failure.

    *upstream_status* is what the upstream answered; None where it did not answer.
    """
    status = b"" if upstream_status is None else b"; fwd-status=%d" % upstream_status
    ttl_seconds = (answer.expires_at_ms - now_ms) // 1000
    return b"zerorate; hit; fwd=stale%b; ttl=%d; detail=stale-if-error" % (status, ttl_seconds)


def stale_usage(answer: StoredAnswer, now_ms: int, status: int, code: str) -> bytes:
    """Return what the usage event of such a call keeps as its raw usage: JSON that says what it stood in for.

    *status* and *code* are those of the error that the client would have got.
    """
    seconds = max(0, now_ms - answer.expires_at_ms) // 1000
    return msgspec.json.encode({"stale_if_error": {"status": status, "code": code, "stale_seconds": seconds}})
