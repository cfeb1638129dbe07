"""The key under which an answer is kept: unguessable without the secret, never shared by two requests."""

import hmac

KEY_VERSION = "k1"
KEY_BYTES = 67
"""What follows in the name of a flight says whose calls share it."""


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
    if len(secret) < 16:
        raise ValueError(f"a cache secret of {len(secret)} bytes is too short")
    parts = (
        KEY_VERSION.encode(),
        scope,
        model.encode(),
        version.encode(),
        upstream_digest,
        surface.encode(),
        canonical,
    )
    framed = b"".join([len(part).to_bytes(8) + part for part in parts])
    return b"k1:" + hmac.digest(secret, framed, "sha256").hex().encode()
