"""Roll usage up from the command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from metering.errors import MeteringError
from metering.selectors import count_waiting_events
from metering.services.rollups import RolledUp, rebuild, roll_up


class Command(BaseCommand):
    """Count new usage events into the hourly sums."""

    help = "Count new usage events into the hourly sums. Celery does this by itself every few seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--rebuild",
            action="store_true",
            help="count everything again from the events, as after a restored dump",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Roll up or rebuild."""
        try:
            done = rebuild(now=timezone.now()) if options["rebuild"] else self._roll_up()
        except MeteringError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{done.events:,} events rolled up; watermark {done.watermark}.")

    def _roll_up(self) -> RolledUp:
        with tqdm(total=count_waiting_events(), unit=" events", disable=None, file=self.stderr) as bar:
            return roll_up(now=timezone.now(), on_progress=bar.update)
