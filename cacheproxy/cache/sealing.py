"""Values that only their owner can read: AES-256-GCM (NIST SP 800-38D) with keys that can be changed. Plain.

Every name has a key of its own, derived from the ring's: random nonces may repeat after some 2³² values under one
key, which a busy cache writes in weeks, and no name ever has so many. What is sealed does not open under another
name or beside another head, so that values can be neither swapped nor given another lifetime.

A sealed value is the length of its key's id (one byte), the id, a nonce of 12 bytes, and the ciphertext with its
tag of 16.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cacheproxy.cache.at_rest import Damaged, Foreign

KEY_BYTES = 32
NONCE_BYTES = 12
MAX_ID_BYTES = 32


class BadKeys(ValueError):
    """The keys are not given as they should be; the message is one line and holds no secret."""


class Keyring:
    """Keys by their ids: the first seals, all of them open."""

    def __init__(self, secrets: Mapping[bytes, bytes]) -> None:
        self._secrets = secrets
        self._current = next(iter(secrets))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the keys in *text*: ``id:base64`` of 32 bytes each, separated by commas.

        Raises:
            BadKeys: it is something else.
        """
        secrets: dict[bytes, bytes] = {}
        for number, part in enumerate(text.split(","), start=1):
            key_id, _, encoded = part.strip().partition(":")
            if not 0 < len(key_id.encode()) <= MAX_ID_BYTES or key_id.encode() in secrets:
                raise BadKeys(
                    f"key {number} needs an id of its own, of up to {MAX_ID_BYTES} bytes, and a colon."
                )
            secrets[key_id.encode()] = _decoded(number, encoded)
        return cls(secrets)

    def seal(self, name: bytes, head: bytes, payload: bytes) -> bytes:
        """Return *payload* sealed; it opens with the same *name* and *head* only."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher(self._current, name).encrypt(nonce, payload, head)
        return b"".join((bytes((len(self._current),)), self._current, nonce, sealed))

    def open(self, name: bytes, head: bytes, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            Foreign: there is no key of its id.
            Damaged: it is not as it was sealed, or not where.
        """
        nonce_at = 1 + sealed[0] if sealed else 1
        payload_at = nonce_at + NONCE_BYTES
        try:
            cipher = self._cipher(sealed[1:nonce_at], name)
            return cipher.decrypt(sealed[nonce_at:payload_at], sealed[payload_at:], head)
        except KeyError as problem:
            raise Foreign from problem
        except (InvalidTag, ValueError) as problem:
            raise Damaged from problem

    def _cipher(self, key_id: bytes, name: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._secrets[key_id], b"zerorate at rest\0" + name, "sha256"))


def _decoded(number: int, encoded: str) -> bytes:
    try:
        secret = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise BadKeys(f"key {number} is no base64.") from problem
    if len(secret) != KEY_BYTES:
        raise BadKeys(f"key {number} has {len(secret)} bytes; it needs {KEY_BYTES}.")
    return secret
