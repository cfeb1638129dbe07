"""When billing does what: Celery's sweeps. A task that fails is mended by the next sweep."""

from celery import shared_task
from django.utils import timezone

from billing.services import periods


@shared_task(ignore_result=True)
def close_due_periods() -> None:
    """Draft and finalise the invoices of months that have ended."""
    periods.close_due_periods(now=timezone.now())
