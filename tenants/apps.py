from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Who: tenants, their members and their API keys."""

    name = "tenants"
