"""Where a call comes from, and who may say so."""

from ipaddress import ip_address, ip_network

import pytest

from cacheproxy.gateway.addresses import client_address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # no proxy of ours says so
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first was written by the client
        ("10.0.0.1", "198.51.100.1,203.0.113.7 , 10.2.0.1", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ("fd00::1", "[2001:db8::5]", "2001:db8::5"),
        ("::ffff:203.0.113.7", None, "203.0.113.7"),
        ("10.0.0.1", "unknown", None),
        ("10.0.0.1", "203.0.113.7, ", None),
        ("not an address", None, None),
    ],
)
def test_the_last_hop_that_is_no_proxy(peer: str, forwarded: str | None, address: str | None) -> None:
    headers = {} if forwarded is None else {b"x-forwarded-for": forwarded.encode()}

    found = client_address((peer, 1), headers, PROXIES)

    assert found == (None if address is None else ip_address(address))


def test_a_unix_socket_has_no_address() -> None:
    assert client_address(None, {b"x-forwarded-for": b"203.0.113.7"}, PROXIES) is None
