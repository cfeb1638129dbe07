"""Reconcile a month, or everything, from the command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from billing.management.months import month_argument
from billing.selectors.verification import Reconciliation, invoices_to_reconcile, reconcile
from metering.selectors import RollupDifference


class Command(BaseCommand):
    """Compare rollups and invoices with the events they were made of."""

    help = "Compare rollups and invoices with raw events; exits 1 and prints the differences where there are any."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--month", type=month_argument, metavar="YYYY-MM", help="default: all time")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Reconcile."""
        period = options["month"]
        total = len(invoices_to_reconcile(period=period))
        with tqdm(total=total, unit=" invoices", disable=None, file=self.stderr) as bar:
            result = reconcile(period=period, on_invoice=lambda _invoice: bar.update())
        self._report(result)

    def _report(self, result: Reconciliation) -> None:
        for rollup in result.rollups:
            self.stdout.write(_words(rollup))
        for number, differences in result.invoices.items():
            for difference in differences:
                self.stdout.write(f"{number}: {difference}")
        if not result.agrees:
            raise CommandError("Rollups or invoices differ from their events.")
        self.stdout.write(f"Rollups and {len(result.invoices)} invoices agree with their events.")


def _words(difference: RollupDifference) -> str:
    tenant_id, api_key_id, hour, model, version, outcome, quality = difference.key
    return (
        f"rollup of tenant {tenant_id}, key {api_key_id or 'none'}, {hour:%Y-%m-%d %H}h, {model} {version}, {outcome}, "
        f"{quality}: rolled up {difference.rolled_up or 'nothing'}, counted {difference.counted or 'nothing'}"
    )
