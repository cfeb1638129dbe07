"""Give a pool another secret."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from cacheproxy.errors import CacheError
from cacheproxy.invalidations import Author
from cacheproxy.models import CacheInvalidation
from cacheproxy.pools import pool_named, rotate_secret


class Command(BaseCommand):
    """Key a pool's answers by a new secret, in every gateway within a second; those kept before are gone."""

    help = (
        "Key a pool's answers by a new secret; those kept before are gone, in every gateway within a second."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("pool", metavar="NAME")
        parser.add_argument(
            "--reason", metavar="TEXT", default="the secret was rotated", help="kept on record"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Rotate the secret."""
        author = Author(getpass.getuser(), CacheInvalidation.Via.COMMAND)
        try:
            pool = pool_named(options["pool"])
            rotate_secret(pool=pool, author=author, now=timezone.now(), reason=options["reason"])
        except CacheError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"The pool {pool} has a new secret.")
