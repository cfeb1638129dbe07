from django.apps import AppConfig


class CacheproxyConfig(AppConfig):
    """The door: upstreams, models and the gateway in front of them."""

    name = "cacheproxy"
    verbose_name = "Models & upstreams"
