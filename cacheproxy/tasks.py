"""When the door's counters are looked after: a sweep of Celery's."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from cacheproxy import counters


@shared_task(ignore_result=True)
def mend_counters() -> None:
    """Rebuild the budgets' counters that fell behind PostgreSQL."""
    with counters.open_counters(settings.REDIS_URL) as client:
        counters.mend_counters(now=timezone.now(), counters=client)
