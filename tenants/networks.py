"""Networks that a key may be used from: CIDR, as text."""

from ipaddress import ip_network

from django.core.exceptions import ValidationError


def network(text: str) -> str:
    """Return *text* as a network in its one spelling: 203.0.113.7 becomes 203.0.113.7/32.

    Raises:
        ValidationError: it is no IPv4 or IPv6 network, or has bits set behind its prefix.
    """
    try:
        return str(ip_network(text.strip()))
    except ValueError as error:
        raise ValidationError(f"{error}: write it as 203.0.113.0/24 or 2001:db8::/32.") from error


def validate_network(text: str) -> None:
    """Refuse what is no network.

    Raises:
        ValidationError: as `network` does.
    """
    network(text)
