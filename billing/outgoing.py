"""Webhooks that we send: signed, in five seconds or not at all, and to nowhere inside.

The signature is ``x-zerorate-signature: t=…,v1=…``: Unix seconds, and the HMAC-SHA256 in hexadecimal of
``t``, a full stop and the raw body, under the budget's secret. Whoever receives it should refuse an old ``t``.
"""

import asyncio
import hmac
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from billing.errors import WebhookNotTaken

TIMEOUT_SECONDS = 5
SIGNATURE_HEADER = "x-zerorate-signature"


def post(
    *, url: str, secret: str, content: Mapping[str, Any], sent_at: int, private_networks: bool = False
) -> None:
    """Post *content* as JSON, signed as of *sent_at* (Unix seconds); redirects are not followed.

    Raises:
        WebhookNotTaken: there was no answer with success in five seconds, or the address is a private one
            and these are not allowed.
    """
    body = msgspec.json.encode(content)
    headers = {
        "content-type": "application/json",
        "user-agent": "zerorate-webhook",
        SIGNATURE_HEADER: signature(secret, sent_at, body),
    }
    try:
        status = asyncio.run(_post(url, body, headers, private_networks=private_networks))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
        raise WebhookNotTaken(f"{str(failure) or 'No answer in time'}.") from failure
    if not 200 <= status < 300:
        raise WebhookNotTaken(f"The receiver answered {status}.")


def signature(secret: str, sent_at: int, body: bytes) -> str:
    """Return the header's value."""
    signed = b"%d." % sent_at + body
    return f"t={sent_at},v1={hmac.new(secret.encode(), signed, 'sha256').hexdigest()}"


async def _post(url: str, body: bytes, headers: Mapping[str, str], *, private_networks: bool) -> int:
    target = URL(url)  # read once, by whom the connection is made too
    resolver = ThreadedResolver() if private_networks else _PublicOnly()
    if not private_networks:
        _refuse_private(target.host or "")
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.post(target, data=body, headers=headers, allow_redirects=False) as response,
    ):
        return response.status


class _PublicOnly(ThreadedResolver):
    """Resolves names; the connection goes to the very addresses that were checked."""

    async def resolve(self, *asked: Any, **more: Any) -> list[ResolveResult]:
        found = await super().resolve(*asked, **more)
        for one in found:
            _refuse_private(one["host"])
        return found


def _refuse_private(host: str) -> None:
    """Refuse a literal address that is not on the public Internet; names are none yet."""
    try:
        address = ip_address(host)
    except ValueError:
        return
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not address.is_global or address.is_multicast:
        raise OSError(f"{host} is a private address; WEBHOOKS_TO_PRIVATE_NETWORKS=1 allows these")
