"""Migrate as the owner of the tables."""

from typing import Any

from django.core.management.commands import migrate
from django.db import connections


class Command(migrate.Command):
    """Run Django's ``migrate`` without assuming the application's role, which owns nothing."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Drop the role from this process's connection, then check and migrate."""
        connection = connections[options["database"]]
        connection.close()
        connection.settings_dict["OPTIONS"].pop("assume_role", None)
        return super().execute(*args, **options)
