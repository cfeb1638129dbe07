"""The operator's page of the cache's statistics, and how long they are kept."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from cacheproxy.admin_statistics import age, size
from cacheproxy.models import CacheStatistic
from cacheproxy.statistics import counts_by_day, delete_old
from metering.periods import month
from tenants.models import User
from tests.factories.statistics import count
from tests.factories.tenants import TenantFactory
from tests.factories.usage import NOVEMBER_NOON

URL = "/admin/cacheproxy/cachestatistic/"
pytestmark = pytest.mark.django_db


def shown(client: Client, **asked: str) -> str:
    response = client.get(URL, {"month": "2026-11"} | asked)
    assert response.status_code == 200
    return response.content.decode()


def test_the_page_is_about_every_tenant_or_one(admin_client: Client) -> None:
    acme, beta = TenantFactory.create(name="Acme Ltd"), TenantFactory.create(name="Beta GmbH")
    count(acme, "memory", 12_000, size_bytes=3 << 20, age_ms=12_000 * 7_200_000)
    count(acme, "expired", 34)
    count(beta, "evicted", 56)
    page = shown(admin_client)
    for text in ("every tenant", "memory 12,000", "expired 34", "evicted 56", "3.0 MiB", "2 h"):
        assert text in page
    of_beta = shown(admin_client, tenant=str(beta.pk))
    assert "evicted 56" in of_beta
    assert "expired 34" not in of_beta
    this_month = admin_client.get(URL, {"tenant": beta.pk}).content.decode()
    assert "Cache of Beta GmbH" in this_month


def test_without_calls_or_with_nonsense_it_says_so(admin_client: Client) -> None:
    TenantFactory.create()
    assert "No calls in this period." in shown(admin_client)
    assert "Select a valid choice" in shown(admin_client, tenant="999")


def test_who_may_not_see_money_does_not(client: Client) -> None:
    client.force_login(User.objects.create_user("bob", is_staff=True))
    assert client.get(URL).status_code == 403


def test_days_are_utc_and_those_without_counts_are_left_out() -> None:
    tenant = TenantFactory.create()
    count(tenant, "memory", 2, at=NOVEMBER_NOON.replace(hour=23))
    count(tenant, "memory", 3, at=NOVEMBER_NOON.replace(hour=23), model="other")
    count(tenant, "never_seen", 5, at=NOVEMBER_NOON + timedelta(days=2))
    days = counts_by_day(period=month("2026-11"))
    assert [(day.day, counts.tiers["memory"], counts.reasons["never_seen"]) for day, counts in days.items()] == [
        (10, 5, 0), (12, 0, 5),
    ]  # fmt: skip


def test_what_is_old_is_deleted() -> None:
    tenant, now = TenantFactory.create(), timezone.now()
    count(tenant, "memory", 2, at=now - timedelta(days=401))
    kept = count(tenant, "memory", 2, at=now - timedelta(days=399))
    assert delete_old(now=now) == 1
    assert CacheStatistic.objects.get() == kept


@pytest.mark.parametrize(
    ("count_bytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 50, "1,024.0 TiB")]
)
def test_sizes_are_written_for_people(count_bytes: int, text: str) -> None:
    assert size(count_bytes) == text


def test_ages_are_written_for_people() -> None:
    assert [age(seconds) for seconds in (None, 0, 59, 60, 7199, 90_000)] == [
        "–",
        "0 s",
        "59 s",
        "1 min",
        "1 h",
        "1 d",
    ]
