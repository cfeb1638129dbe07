"""Requests of tenants who let their content be kept: those asked most, and when they are forgotten."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from cacheproxy.models import KeptRequest
from cacheproxy.warm_up import Request
from tenants.models import Tenant

MAX_PER_TENANT = 10_000
"""Of more, those asked least go, and of these the ones asked longest ago."""

_DELETE_TOO_MANY = """
DELETE FROM cacheproxy_keptrequest WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY tenant_id ORDER BY times DESC, last_asked_at DESC, id) AS place
        FROM cacheproxy_keptrequest
    ) AS placed WHERE place > %s
)
"""


def most_repeated(*, tenant: Tenant, count: int, since: datetime) -> list[Request]:
    """Return the *count* requests that the tenant asked most often, of those asked since then, the most first."""
    asked = KeptRequest.objects.filter(tenant=tenant, last_asked_at__gte=since).order_by("-times", "id")
    return [Request(kept.path, bytes(kept.body), dict(kept.headers)) for kept in asked[:count]]


def forget(*, now: datetime, max_per_tenant: int = MAX_PER_TENANT) -> int:
    """Delete what is kept too long or too many, and all of those who let it be kept no more; return how many."""
    kept_until = now - timedelta(days=settings.KEEP_CONTENT_DAYS)
    old, _ = KeptRequest.objects.filter(last_asked_at__lt=kept_until).delete()
    withdrawn, _ = KeptRequest.objects.filter(tenant__keep_content=False).delete()
    with connection.cursor() as cursor:
        cursor.execute(_DELETE_TOO_MANY, [max_per_tenant])
        return old + withdrawn + int(cursor.rowcount)
