"""Close a month from the command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from billing.errors import BillingError, PeriodAlreadyClosed
from billing.management.months import month_argument
from billing.money import format_money
from billing.services.periods import Verdict, close_period
from metering.errors import MeteringError
from tenants.errors import TenantError
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    """Roll usage up, then draft and finalise the month's invoices."""

    help = "Roll usage up, then draft and finalise the month's invoices. Celery does this after each month."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--month", required=True, type=month_argument, metavar="YYYY-MM")
        parser.add_argument("--tenant", metavar="SLUG", help="default: every tenant with usage")
        parser.add_argument(
            "--early", action="store_true", help="close a month that still runs; the rest is billed late"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Close the month and say what came of it, a line for each tenant."""
        slug = options["tenant"]
        try:
            with tqdm(unit=" tenants", disable=None, file=self.stderr) as bar:
                verdicts = close_period(
                    period=options["month"],
                    now=timezone.now(),
                    tenant=tenant_by_slug(slug) if slug else None,
                    early=options["early"],
                    on_verdict=lambda _verdict: bar.update(),
                )
        except (BillingError, MeteringError, TenantError) as error:
            raise CommandError(str(error)) from error
        self._report(verdicts)

    def _report(self, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            self.stdout.write(f"{verdict.tenant.slug}: {_words(verdict)}")
        if not verdicts:
            self.stdout.write("There is no usage to invoice.")
        refused = [verdict for verdict in verdicts if _is_refused(verdict)]
        if refused:
            raise CommandError(f"{len(refused)} of {len(verdicts)} tenants could not be closed.")


def _words(verdict: Verdict) -> str:
    if verdict.error is not None:
        return str(verdict.error)
    invoice = verdict.invoice
    if invoice is None:
        return "no usage, no invoice"
    net = format_money(invoice.net_minor, invoice.currency)
    saved = format_money(invoice.discount_minor, invoice.currency)
    return f"{invoice.number}, {net}, saved {saved}"


def _is_refused(verdict: Verdict) -> bool:
    return verdict.error is not None and not isinstance(verdict.error, PeriodAlreadyClosed)
