"""End answers of the cache before their time."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from cacheproxy.errors import CacheError, EmptySelection
from cacheproxy.invalidations import Author, Selection, check, invalidate, invalidate_matching
from cacheproxy.matching import count_entries
from cacheproxy.models import CacheInvalidation
from cacheproxy.pools import pool_named
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
        parser.add_argument("--pool", metavar="NAME", default="", help="of the members of a pool")
        parser.add_argument(
            "--matching",
            metavar="REGEX",
            default="",
            help="answers of --tenant whose question it finds in the semantic tier (RE2)",
        )
        parser.add_argument("--dry-run", action="store_true", help="with --matching: only count")
        parser.add_argument("--all", action="store_true", help="every answer of every tenant")
        parser.add_argument("--reason", metavar="TEXT", default="", help="kept with the record")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Invalidate, and say what."""
        if options["dry_run"] and not options["matching"]:
            raise CommandError("--dry-run counts what --matching finds: give an expression.")
        try:
            self._invalidate(
                Selection(
                    tenant=tenant_by_slug(options["tenant"]) if options["tenant"] else None,
                    model=options["model"],
                    version=options["model_version"],
                    session=options["session"],
                    tag=options["tag"],
                    key=options["key"],
                    pool=pool_named(options["pool"]) if options["pool"] else None,
                    matching=options["matching"],
                ),
                options,
            )
        except EmptySelection as error:
            remedy = (
                "Give --tenant, --pool, --model, --version, --tag, --session, --key or --matching; "
                "or --all for every answer."
            )
            raise CommandError(remedy) from error
        except (CacheError, TenantError) as error:
            raise CommandError(str(error)) from error

    def _invalidate(self, selection: Selection, options: dict[str, Any]) -> None:
        stated: dict[str, Any] = {
            "selection": selection,
            "author": Author(getpass.getuser(), CacheInvalidation.Via.COMMAND),
            "now": timezone.now(),
            "reason": options["reason"],
        }
        if not selection.matching or options["all"]:
            made = invalidate(**stated, everything=options["all"])
            self.stdout.write(f"Invalidated: {made} (epoch {made.epoch}).")
            return
        check(selection, everything=False)
        assert selection.tenant is not None, "it was checked"
        total = count_entries(tenant=selection.tenant, model=selection.model)
        with tqdm(total=total, unit=" questions", disable=None, file=self.stderr) as bar:
            matched = invalidate_matching(**stated, dry_run=options["dry_run"], on_page=bar.update)
        if matched.unreadable:
            unread = (
                f"{matched.unreadable:,} questions could not be read: CACHE_ENCRYPTION_KEYS lacks their key."
            )
            self.stderr.write(unread)
        for made in matched.records:
            self.stdout.write(f"Invalidated: {made} (epoch {made.epoch}).")
        if options["dry_run"]:
            self.stdout.write(f"{matched.answers:,} of {total:,} questions match; nothing was invalidated.")
