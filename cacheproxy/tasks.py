"""When the door's counters, and the semantic tier's entries, are looked after: sweeps of Celery's."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from cacheproxy import counters, semantic_entries


@shared_task(ignore_result=True)
def mend_counters() -> None:
    """Rebuild the budgets' counters that fell behind PostgreSQL."""
    with counters.open_counters(settings.REDIS_URL) as client:
        counters.mend_counters(now=timezone.now(), counters=client)


@shared_task(ignore_result=True)
def sweep_semantic_entries() -> None:
    """Delete the semantic tier's entries that have expired."""
    semantic_entries.delete_expired(now=timezone.now())
