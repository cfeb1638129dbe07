"""Webhooks, signed as Stripe signs them: HMAC-SHA256 over `<timestamp>.<raw body>`.

See https://docs.stripe.com/webhooks#verify-manually.
"""

import hmac
import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit


def sign(body: bytes, secret: str, *, at: int | None = None) -> str:
    """Return the `Stripe-Signature` header of a body, signed `at` that Unix time (now by default)."""
    timestamp = int(time.time()) if at is None else at
    signature = hmac.digest(secret.encode(), f"{timestamp}.".encode() + body, "sha256").hex()
    return f"t={timestamp},v1={signature}"


def deliver(event: dict[str, Any], *, url: str, secret: str) -> int:
    """Post one signed event over HTTP and return the status of the answer."""
    body = json.dumps(event, indent=2).encode()
    target = urlsplit(url)
    headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": sign(body, secret)}
    connection = http.client.HTTPConnection(target.netloc, timeout=30)
    try:
        connection.request("POST", target.path, body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
