"""Issue an API key from the command line."""

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from tenants.errors import TenantError
from tenants.models import ApiKey
from tenants.selectors import tenant_by_slug
from tenants.services import KeyLimits, issue_key

UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Return ``90d``, ``12h`` or ``2w`` as a span of time."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no duration: write it as 12h, 90d or 2w")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


class Command(BaseCommand):
    """Print a new API key, alone, on standard output. It is shown this once."""

    help = "Issue an API key and print it, alone, on standard output. It is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--name", required=True)
        parser.add_argument("--expires", type=duration, metavar="90d")
        parser.add_argument(
            "--scope", action="append", dest="scopes", metavar="SCOPE", help="repeatable; default: all"
        )

        for name in ApiKey.LIMITS:
            parser.add_argument(
                f"--{name.replace('_', '-')}", type=int, metavar="N", help="default: none of its own"
            )
        parser.add_argument(
            "--model",
            action="append",
            default=[],
            dest="allowed_models",
            metavar="NAME",
            help="that the key may use; repeatable; default: every model of the plan",
        )
        parser.add_argument(
            "--network",
            action="append",
            default=[],
            dest="allowed_networks",
            metavar="CIDR",
            help="that the key may be used from; repeatable; default: anywhere",
        )
        parser.add_argument(
            "--no-cache",
            action="store_false",
            dest="enable_cache",
            help="its calls always ask the upstream, and nothing is kept",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Issue the key."""
        now = timezone.now()
        expires: timedelta | None = options["expires"]
        try:
            issued = issue_key(
                tenant=tenant_by_slug(options["tenant"]),
                name=options["name"],
                now=now,
                scopes=options["scopes"],
                expires_at=None if expires is None else now + expires,
                limits=KeyLimits(**{name: options[name] for name in KeyLimits._fields}),
            )
        except TenantError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(issued.text)
