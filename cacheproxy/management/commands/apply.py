"""Make the catalog match a file."""

import getpass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from cacheproxy.catalog_file import InvalidCatalog, read_catalog
from cacheproxy.errors import CatalogError
from cacheproxy.invalidations import Author
from cacheproxy.models import CacheInvalidation
from cacheproxy.services import WARNING, apply_catalog


class Command(BaseCommand):
    """Print the diff, then apply it whole; any error refuses the whole file."""

    help = (
        "Make upstreams, pools, models, plans, prices, hit discounts and tenants match a YAML file; "
        "prints the diff."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--dry-run", action="store_true", help="print the diff and change nothing")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Apply the file."""
        path: Path = options["file"]
        try:
            catalog = read_catalog(path.read_text())
            author = Author(getpass.getuser(), CacheInvalidation.Via.COMMAND)
            changes = apply_catalog(
                catalog=catalog, author=author, now=timezone.now(), dry_run=options["dry_run"]
            )
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{path}: cannot be read: {error}") from error
        except (InvalidCatalog, CatalogError) as error:
            raise CommandError(f"{path}: nothing was applied.\n{error}") from error
        for change in changes:
            self.stdout.write(str(change))
        done = "would change" if options["dry_run"] else "changed"
        count = sum(change.sign != WARNING for change in changes)
        self.stdout.write(f"{count} {done}." if count else "Nothing to change.")
