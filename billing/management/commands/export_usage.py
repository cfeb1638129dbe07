"""Export a tenant's usage from the command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from billing.exports.usage_csv import usage_csv
from billing.management.months import month_argument
from metering.models import UsageEvent
from metering.periods import Period
from tenants.errors import TenantError
from tenants.models import Tenant
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    """Write a month of a tenant's usage as CSV, a row per event with what it cost."""

    help = "Write a month of a tenant's usage as CSV, a row per event with what it cost."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--month", required=True, type=month_argument, metavar="YYYY-MM")
        parser.add_argument("--format", choices=["csv"], default="csv")
        parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Write the export."""
        path: Path | None = options["output"]
        try:
            tenant = tenant_by_slug(options["tenant"])
        except TenantError as error:
            raise CommandError(str(error)) from error
        chunks = usage_csv(tenant=tenant, period=options["month"], now=timezone.now())
        if path is None:
            for chunk in chunks:
                self.stdout.write(chunk.decode(), ending="")
            return
        try:
            _write(path, self._with_progress(chunks, tenant, options["month"]))
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from error

    def _with_progress(self, chunks: Iterator[bytes], tenant: Tenant, period: Period) -> Iterator[bytes]:
        events = UsageEvent.objects.filter(
            tenant=tenant, occurred_at__gte=period.start, occurred_at__lt=period.end
        )
        with tqdm(total=events.count(), unit=" events", disable=None, file=self.stderr) as bar:
            for chunk in chunks:
                yield chunk
                bar.update(chunk.count(b"\n"))  # a row is a line: what people typed has none


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(chunks)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
