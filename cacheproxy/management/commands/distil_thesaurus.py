"""Distil the thesaurus of semantic hits from WordNet."""

import hashlib
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    """Read WordNet's files, write the thesaurus and its card; the verifier is to be trained anew after it."""

    help = "Distil what the verifier of semantic hits knows of English words from the files of WordNet 3.0."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--wordnet",
            type=Path,
            default=Path("/usr/share/wordnet"),
            metavar="FOLDER",
            help="its files, data.noun and the rest (default: where Debian's wordnet-base has them)",
        )
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="the thesaurus (default: the one that ships)"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Distil."""
        try:
            from cacheproxy.semantic.distilling import distil, save
            from cacheproxy.semantic.thesaurus import SHIPPED
        except ImportError as error:
            raise CommandError(f"Distilling takes numpy: {error}") from error
        output: Path = options["output"] or SHIPPED
        try:
            save(distil(options["wordnet"]), options["wordnet"], output)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise CommandError(f"{options['wordnet']}: no WordNet: {error}") from error
        self.stdout.write(f"{output}: SHA-256 {hashlib.sha256(output.read_bytes()).hexdigest()}")
