"""How long and how many requests are kept."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from cacheproxy.kept_requests import forget, most_repeated
from cacheproxy.models import KeptRequest
from tenants.models import Tenant
from tests.factories.tenants import TenantFactory

NOW = timezone.now()
pytestmark = pytest.mark.django_db


def keep(tenant: Tenant, name: str, times: int, **more: Any) -> KeptRequest:
    asked = {"first_asked_at": NOW, "last_asked_at": NOW} | more
    return KeptRequest.objects.create(
        tenant=tenant, digest=name.encode(), path="/v1/embeddings", model="m", body=name.encode(), times=times, **asked
    )  # fmt: skip


def names() -> list[str]:
    return sorted(bytes(request.body).decode() for request in KeptRequest.objects.all())


def test_those_asked_most_come_first_and_only_of_late() -> None:
    tenant, other = TenantFactory.create(), TenantFactory.create()
    keep(tenant, "rare", 1)
    keep(tenant, "often", 9)
    keep(tenant, "once", 50, last_asked_at=NOW - timedelta(days=8))
    keep(other, "theirs", 99)
    found = most_repeated(tenant=tenant, count=5, since=NOW - timedelta(days=7))
    assert [request.body for request in found] == [b"often", b"rare"]
    assert len(most_repeated(tenant=tenant, count=1, since=NOW - timedelta(days=9))) == 1


def test_what_is_old_too_much_or_not_allowed_any_more_is_forgotten(settings: Settings) -> None:
    settings.KEEP_CONTENT_DAYS = 3
    tenant = TenantFactory.create(keep_content=True)
    withdrawn = TenantFactory.create(keep_content=False)
    keep(tenant, "old", 50, last_asked_at=NOW - timedelta(days=4))
    keep(withdrawn, "withdrawn", 50)
    for number in range(4):
        keep(tenant, f"asked {number}", number)
    assert forget(now=NOW, max_per_tenant=2) == 4
    assert names() == ["asked 2", "asked 3"]
    assert forget(now=NOW, max_per_tenant=2) == 0
