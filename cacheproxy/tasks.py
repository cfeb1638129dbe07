"""When what the door leaves behind is looked after: sweeps of Celery's."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from cacheproxy import counters, kept_requests, semantic_entries, statistics


@shared_task(ignore_result=True)
def mend_counters() -> None:
    """Rebuild the budgets' counters that fell behind PostgreSQL."""
    with counters.open_counters(settings.REDIS_URL) as client:
        counters.mend_counters(now=timezone.now(), counters=client)


@shared_task(ignore_result=True)
def sweep_semantic_entries() -> None:
    """Delete the semantic tier's entries that have expired."""
    semantic_entries.delete_expired(now=timezone.now())


@shared_task(ignore_result=True)
def sweep_cache_statistics() -> None:
    """Delete the cache's statistics that are old."""
    statistics.delete_old(now=timezone.now())


@shared_task(ignore_result=True)
def sweep_kept_requests() -> None:
    """Delete requests that are kept too long or too many, and those of tenants who let them be kept no more."""
    kept_requests.forget(now=timezone.now())
