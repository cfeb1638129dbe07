"""Where a call comes from: the connection's other end, or what trusted proxies say is behind it."""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def client_address(
    client: tuple[str, int] | None, headers: Mapping[bytes, bytes], trusted_proxies: Collection[Network]
) -> Address | None:
    """Return the address that a call comes from; None where there is none, as on a Unix socket.

    Of ``X-Forwarded-For`` the last entry that no trusted proxy bears is believed: what stands before it, the
    client may have written itself. Where a trusted proxy passed on something else than addresses, nobody is.
    """
    address = _address(client[0]) if client is not None else None
    hops = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
    while hops and address is not None and is_within(address, trusted_proxies):
        hop = hops.pop().strip()
        if hop or hops:
            address = _address(hop)
    return address


def is_within(address: Address | None, networks: Collection[Network]) -> bool:
    """Return whether the address is in one of the networks."""
    return address is not None and any(address in network for network in networks)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
