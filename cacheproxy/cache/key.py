"""The key under which an answer is kept: unguessable without the secret, never shared by two requests."""

import hmac
from functools import lru_cache

KEY_VERSION = "k1"
KEY_BYTES = 67
"""What follows in the name of a flight says whose calls share it."""
MAX_BEGUN = 4096
"""Digests that are kept half done, about a kilobyte each."""


def answer_key(
    *,
    secret: bytes,
    scope: bytes,
    model: str,
    version: str,
    upstream_digest: bytes,
    surface: str,
    canonical: bytes,
) -> bytes:
    """Return `k1:` and the hex HMAC-SHA256 of all that decides an answer.

    `scope` narrows who shares it (a tenant, a key, a session), `upstream_digest` stands for the upstream's
    configuration, `canonical` for the request. Every part is framed by its length, so that no two lists of
    parts run together into the same bytes.

    Raises:
        ValueError: the secret is shorter than 16 bytes, too short to keep tenants apart.
    """
    digest = _begun(secret, scope, model, version, upstream_digest, surface).copy()
    digest.update(_framed(canonical))
    return b"k1:" + digest.hexdigest().encode()


@lru_cache(maxsize=MAX_BEGUN)
def _begun(
    secret: bytes, scope: bytes, model: str, version: str, upstream_digest: bytes, surface: str
) -> hmac.HMAC:
    """Return the digest over all that many requests have in common; two thirds of the work."""
    if len(secret) < 16:
        raise ValueError(f"a cache secret of {len(secret)} bytes is too short")
    parts = (
        KEY_VERSION.encode(),
        scope,
        model.encode(),
        version.encode(),
        upstream_digest,
        surface.encode(),
    )
    return hmac.new(secret, b"".join(map(_framed, parts)), "sha256")


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(8) + part
