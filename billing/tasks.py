"""When billing does what: Celery's sweeps. A task that fails is mended by the next sweep."""

from celery import shared_task
from django.utils import timezone

from billing.services import budgets, periods


@shared_task(ignore_result=True)
def close_due_periods() -> None:
    """Draft and finalise the invoices of months that have ended."""
    periods.close_due_periods(now=timezone.now())


@shared_task(ignore_result=True)
def watch_budgets() -> None:
    """Raise alerts for budgets that were passed, and tell of those that wait."""
    now = timezone.now()
    budgets.raise_alerts(now=now)
    budgets.deliver_alerts(now=now)
