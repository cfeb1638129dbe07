"""The data plane on its own: ``uvicorn config.gateway:application``. Loads no Django."""

from cacheproxy.gateway.asgi import Gateway
from cacheproxy.gateway.config import GatewaySettings
from config import env


def gateway_settings() -> GatewaySettings:
    """Return the gateway's settings from the environment.

    Raises:
        MissingSetting: ``DATABASE_URL`` or a secret is missing.
    """
    database_url = env.text("DATABASE_URL")
    if not database_url:
        raise env.MissingSetting("DATABASE_URL is not set: set it, or start everything with `manage.py up`.")
    return GatewaySettings(
        database_url=database_url,
        database_role=env.text("DATABASE_ROLE", env.DEFAULT_ROLE) or None,
        redis_url=env.text("REDIS_URL") or None,
        key_pepper=env.secret("KEY_PEPPER"),
        max_body_bytes=env.integer("MAX_BODY_BYTES", env.DEFAULT_MAX_BODY_BYTES),
        memory_cache_bytes=env.integer("MEMORY_CACHE_BYTES", env.DEFAULT_MEMORY_CACHE_BYTES),
    )


application = Gateway(gateway_settings())
