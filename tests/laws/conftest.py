"""The gateway's fixtures, for the laws that are tried on a serving gateway."""

from tests.cacheproxy.gateway.conftest import cast, gateway_settings, upstream, world

__all__ = ["cast", "gateway_settings", "upstream", "world"]
