"""API keys as text: made, taken apart and digested.

``zr_live_`` + public id (12 characters) + secret (32) + checksum (6), all base62. The checksum is the
CRC-32 of everything before it, so a mistyped or made-up key is refused without asking anyone. What is
stored is HMAC-SHA256 of the whole key under the installation's pepper, never the key.
"""

import hmac
import secrets
import zlib
from typing import NamedTuple

PREFIX = "zr_live_"
PUBLIC_ID_LENGTH = 12
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
KEY_LENGTH = len(PREFIX) + PUBLIC_ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class NewKey(NamedTuple):
    """A key just made: ``text`` is shown once, ``public_id`` is stored beside its digest."""

    text: str
    public_id: str


def generate() -> NewKey:
    """Make a new key from the system's randomness (190 bits of secret)."""
    public_id = _random_text(PUBLIC_ID_LENGTH)
    body = PREFIX + public_id + _random_text(SECRET_LENGTH)
    return NewKey(text=body + _checksum(body), public_id=public_id)


def is_well_formed(key: str) -> bool:
    """Return whether *key* has the form and the checksum of a key. It may still be unknown."""
    if len(key) != KEY_LENGTH or not key.startswith(PREFIX) or not key.isascii():
        return False
    return key[-CHECKSUM_LENGTH:] == _checksum(key[:-CHECKSUM_LENGTH])


def digest(key: str, pepper: str) -> bytes:
    """Return what is stored of *key*: 32 bytes, HMAC-SHA256 under *pepper*."""
    return hmac.digest(pepper.encode(), key.encode(), "sha256")


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
