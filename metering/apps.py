from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MeteringConfig(AppConfig):
    """How much: usage events, rollups and exports."""

    name = "metering"
    verbose_name = "Usage"

    def ready(self) -> None:
        """Renew the grants of the application's role after every migration."""
        from metering.privileges import grant_privileges

        post_migrate.connect(grant_privileges, sender=self)
