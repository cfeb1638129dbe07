"""End answers of the cache before their time."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from cacheproxy.errors import CacheError, EmptySelection
from cacheproxy.invalidations import Author, Selection, invalidate
from cacheproxy.models import CacheInvalidation
from tenants.errors import TenantError
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    """Invalidate the answers that match all that is named, in every gateway within a second."""

    help = "Invalidate the stored answers that match all that is named, in every gateway within a second."

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Return a parser whose ``--version`` is a model's, not Django's."""
        return super().create_parser(*args, **kwargs, conflict_handler="resolve")

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--tenant", metavar="SLUG", default="", help="default: all")
        parser.add_argument("--model", metavar="NAME", default="", help="default: all")
        parser.add_argument("--version", dest="model_version", metavar="V", default="", help="of the model")
        parser.add_argument("--tag", metavar="T", default="", help="as named in X-Zerorate-Cache-Tags")
        parser.add_argument("--session", metavar="ID", default="", help="as named in X-Zerorate-Session")
        parser.add_argument("--key", metavar="K", default="", help="one answer, as shown in x-zerorate-key")
        parser.add_argument("--all", action="store_true", help="every answer of every tenant")
        parser.add_argument("--reason", metavar="TEXT", default="", help="kept with the record")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Invalidate, and say what."""
        try:
            made = invalidate(
                selection=Selection(
                    tenant=tenant_by_slug(options["tenant"]) if options["tenant"] else None,
                    model=options["model"],
                    version=options["model_version"],
                    session=options["session"],
                    tag=options["tag"],
                    key=options["key"],
                ),
                author=Author(getpass.getuser(), CacheInvalidation.Via.COMMAND),
                now=timezone.now(),
                reason=options["reason"],
                everything=options["all"],
            )
        except EmptySelection as error:
            remedy = (
                "Give --tenant, --model, --version, --tag, --session or --key; or --all for every answer."
            )
            raise CommandError(remedy) from error
        except (CacheError, TenantError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Invalidated: {made} (epoch {made.epoch}).")
