"""How long an upstream asks to be left alone. Plain."""

import contextlib
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

from cacheproxy.protocols.request import Header

DEFAULT_SECONDS = 1.0
MAX_SECONDS = 60.0
"""An upstream that asks for more is tried again after this: it is one call that tells."""


def wait_seconds(headers: Iterable[Header], now: float) -> float:
    """Return the seconds that ``retry-after-ms`` or ``retry-after`` (RFC 9110: seconds, or a date) ask for.

    *now* is in seconds since the epoch.
    """
    stated = dict(headers)
    with contextlib.suppress(ValueError):
        if value := stated.get(b"retry-after-ms"):
            return _bounded(float(value) / 1000)
        if value := stated.get(b"retry-after"):
            text = value.decode("latin-1")
            return _bounded(float(text) if text.strip().isdigit() else _until(text, now))
    return DEFAULT_SECONDS


def _until(date: str, now: float) -> float:
    return parsedate_to_datetime(date).timestamp() - now


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_SECONDS) if seconds == seconds else DEFAULT_SECONDS
