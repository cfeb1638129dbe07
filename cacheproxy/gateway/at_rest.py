"""How the gateway keeps bytes outside its process, as its settings say."""

from cacheproxy.cache.at_rest import AtRest
from cacheproxy.gateway.config import GatewaySettings


def at_rest_of(settings: GatewaySettings) -> AtRest:
    """Return the way of keeping answers and questions; sealed where there are keys."""
    keyring = None
    if settings.cache_encryption_keys:
        from cacheproxy.cache.sealing import Keyring  # its package is large

        keyring = Keyring.parse(settings.cache_encryption_keys)
    return AtRest(
        compress_from_bytes=settings.cache_compress_from_bytes,
        level=settings.cache_compression_level,
        keyring=keyring,
    )
