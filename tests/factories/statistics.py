"""What gateways counted of the cache, as they would have written it."""

from datetime import datetime

from cacheproxy.models import CacheStatistic
from metering.periods import floor_hour
from tenants.models import Tenant
from tests.factories.usage import NOVEMBER_NOON


def count(
    tenant: Tenant,
    result: str,
    calls: int,
    *,
    model: str = "qwen",
    at: datetime = NOVEMBER_NOON,
    size_bytes: int = 0,
    age_ms: int = 0,
) -> CacheStatistic:
    """Write what came of so many calls."""
    return CacheStatistic.objects.create(
        hour=floor_hour(at),
        tenant=tenant,
        model=model,
        result=result,
        calls=calls,
        size_bytes=size_bytes,
        age_ms=age_ms,
    )
