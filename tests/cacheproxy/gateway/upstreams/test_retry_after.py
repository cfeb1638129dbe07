"""What an upstream asks for in its head."""

from email.utils import formatdate

import pytest

from cacheproxy.gateway.upstreams.retry_after import DEFAULT_SECONDS, MAX_SECONDS, wait_seconds

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], DEFAULT_SECONDS),
        ([(b"retry-after", b"7")], 7),
        ([(b"retry-after", b"0")], 0),
        ([(b"retry-after", b"86400")], MAX_SECONDS),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"1")], 0.25),
        ([(b"retry-after", formatdate(NOW + 30, usegmt=True).encode())], 30),
        ([(b"retry-after", formatdate(NOW - 30, usegmt=True).encode())], 0),
        ([(b"retry-after", b"-5")], DEFAULT_SECONDS),
        ([(b"retry-after", b"soon")], DEFAULT_SECONDS),
        ([(b"retry-after", "٣".encode())], DEFAULT_SECONDS),
        ([(b"retry-after-ms", b"nan")], DEFAULT_SECONDS),
        ([(b"retry-after-ms", b"1e999")], MAX_SECONDS),
        ([(b"retry-after", b"9" * 5000)], MAX_SECONDS),
    ],
)
def test_it_is_read_and_bounded(headers: list[tuple[bytes, bytes]], seconds: float) -> None:
    assert wait_seconds(headers, NOW) == seconds
