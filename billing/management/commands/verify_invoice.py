"""Verify an invoice from the command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.errors import BillingError
from billing.selectors.invoices import invoice_by_number
from billing.selectors.verification import verify_invoice


class Command(BaseCommand):
    """Recompute a final invoice from raw events and say where it differs."""

    help = (
        "Recompute a final invoice from raw events; exits 1 and prints the differences where there are any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the number."""
        parser.add_argument("number", metavar="NUMBER", help="such as INV-2026-000001")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Verify it."""
        try:
            invoice = invoice_by_number(options["number"])
        except BillingError as error:
            raise CommandError(str(error)) from error
        differences = verify_invoice(invoice=invoice)
        for difference in differences:
            self.stdout.write(str(difference))
        if differences:
            raise CommandError(f"{invoice.number} differs from its events in {len(differences)} places.")
        self.stdout.write(f"{invoice.number} agrees with its events to the last digit.")
