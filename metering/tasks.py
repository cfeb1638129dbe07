"""When metering does what: Celery's sweeps. A task that fails is mended by the next sweep."""

from celery import shared_task
from django.utils import timezone

from metering import partitions
from metering.services import rollups


@shared_task(ignore_result=True)
def roll_up_usage() -> None:
    """Count new usage events into the hourly sums."""
    rollups.roll_up(now=timezone.now())


@shared_task(ignore_result=True)
def make_partitions() -> None:
    """Make the partitions of the months to come."""
    partitions.make_partitions(now=timezone.now())
