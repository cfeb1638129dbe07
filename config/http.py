"""The HTTP protocol as uvicorn loads it: ``--http config.http:Http``. Its bounds come from the environment."""

from cacheproxy.gateway.config import HttpSettings
from cacheproxy.gateway.http.protocol import HttpProtocol
from config import env

DEFAULTS = HttpSettings()


class Http(HttpProtocol):
    """The protocol with the bounds that the environment sets."""

    settings = HttpSettings(
        max_connections=env.integer("MAX_CONNECTIONS", DEFAULTS.max_connections),
        max_head_bytes=env.integer("MAX_HEAD_BYTES", DEFAULTS.max_head_bytes),
        idle_seconds=env.integer("IDLE_SECONDS", int(DEFAULTS.idle_seconds)),
    )
