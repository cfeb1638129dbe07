"""Celery: when things happen. Every task sweeps for due rows; a retry is the next sweep."""

import logging
import os
from urllib.parse import parse_qs, urlsplit

from celery import Celery, signals
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

from cacheproxy.redis_places import Sentinels, StartNodes, places_at
from config.env import MissingSetting


def broker_url(redis_url: str) -> str:
    """Return *redis_url* as Celery spells it: a Unix socket is ``redis+socket://`` there, sentinels ``sentinel://``.

    Raises:
        MissingSetting: it is a cluster's, in which Celery can keep no queue.
    """
    places = places_at(redis_url)
    if isinstance(places, StartNodes):
        raise MissingSetting(
            "BROKER_URL must be set where REDIS_URL is a cluster: Celery can keep no queue in one."
        )
    if isinstance(places, Sentinels):
        return ";".join(f"sentinel://{place}" for place in places.masters)
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?virtual_host={database}"


def broker_options(redis_url: str) -> dict[str, str]:
    """Return what Celery has to know of the broker beside its URL: the master's name, where there are sentinels."""
    places = places_at(redis_url)
    return {"master_name": places.service} if isinstance(places, Sentinels) else {}


app = Celery("zerorate")
app.conf.update(
    broker_url=broker_url(settings.BROKER_URL),
    broker_transport_options=broker_options(settings.BROKER_URL),
    broker_connection_retry_on_startup=True,
    # Tasks are sweeps: idempotent, without results, and one still waiting is as good as two.
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    timezone="UTC",
    beat_schedule={
        "roll_up_usage": {
            "task": "metering.tasks.roll_up_usage",
            "schedule": 10.0,
            "options": {"expires": 10},
        },
        "make_partitions": {"task": "metering.tasks.make_partitions", "schedule": crontab(minute="17")},
        "close_due_periods": {"task": "billing.tasks.close_due_periods", "schedule": crontab(minute="23")},
        "watch_budgets": {
            "task": "billing.tasks.watch_budgets",
            "schedule": 30.0,
            "options": {"expires": 30},
        },
        "mend_counters": {
            "task": "cacheproxy.tasks.mend_counters",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "sweep_semantic_entries": {
            "task": "cacheproxy.tasks.sweep_semantic_entries",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "sweep_kept_requests": {
            "task": "cacheproxy.tasks.sweep_kept_requests",
            "schedule": 300.0,
            "options": {"expires": 300},
        },
        "sweep_cache_statistics": {
            "task": "cacheproxy.tasks.sweep_cache_statistics",
            "schedule": crontab(hour="3", minute="41"),
        },
        "push_invoices": {
            "task": "billing.stripe_tasks.push_invoices",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "align_invoices": {
            "task": "billing.stripe_tasks.align_invoices",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "work_webhooks": {
            "task": "billing.stripe_tasks.work_webhooks",
            "schedule": 10.0,
            "options": {"expires": 10},
        },
    },
)


@signals.setup_logging.connect
def keep_logging(loglevel: int, **_: object) -> None:
    """Leave the log as Django has set it up, at the level that the command line asks for."""
    logging.getLogger().setLevel(loglevel)


app.autodiscover_tasks()
app.autodiscover_tasks(related_name="stripe_tasks")
