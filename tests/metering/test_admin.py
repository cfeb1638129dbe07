"""Usage in the operator's admin: read, filtered and looked up, never changed."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from metering.models import UsageConflict, UsageRollup
from metering.usage_event import UsageEvent
from tenants.models import Tenant, User
from tests.factories.tenants import TenantFactory
from tests.factories.usage import NOVEMBER_NOON, record, usage_event, use

HOUR = datetime(2026, 11, 10, 12, tzinfo=UTC)
LOOK_UP = "admin:metering_usagerollup_look_up"
pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create(slug="acme", name="Acme Ltd")


def rollup(tenant: Tenant, **changes: object) -> UsageRollup:
    plain = {"model": "qwen", "model_version": "1", "outcome": "miss", "quality": "reported", "calls": 7}
    return UsageRollup.objects.create(tenant=tenant, hour=HOUR, watermark=1, **plain | changes)


def looked_up(client: Client, request_id: object) -> str:
    return client.get(reverse(LOOK_UP), {"request_id": str(request_id)}).content.decode()


def test_a_call_is_found_by_its_request_id(admin_client: Client, tenant: Tenant) -> None:
    miss = use(tenant.pk, input=1234, raw_usage=b'{"prompt_tokens": 1234}')
    hit = use(tenant.pk, outcome="exact", source_event=miss.event_id, input=1234)
    page = looked_up(admin_client, hit.request_id)
    assert "exact hit" in page
    assert "Acme Ltd" in page
    assert f"?request_id={miss.event_id}" in page
    assert "prompt_tokens" in looked_up(admin_client, miss.request_id)


def test_a_batch_shows_both_of_its_events_and_no_others(admin_client: Client, tenant: Tenant) -> None:
    first = use(tenant.pk)
    second = use(tenant.pk, request_id=first.request_id, outcome="coalesced")
    other = use(TenantFactory.create().pk)
    page = looked_up(admin_client, first.request_id)
    assert str(first.event_id) in page
    assert str(second.event_id) in page
    assert str(other.event_id) not in page


def test_a_look_up_reads_the_hour_of_the_call_only(admin_client: Client, tenant: Tenant) -> None:
    first = usage_event(tenant.pk)
    later = usage_event(
        tenant.pk, request_id=first.request_id, occurred_at=NOVEMBER_NOON + timedelta(hours=2)
    )
    record([first, later])
    assert str(later.event_id) not in looked_up(admin_client, first.request_id)


@pytest.mark.parametrize("request_id", ["nonsense", "", "' OR 1=1 --"])
def test_what_is_no_request_id_is_told_apart(admin_client: Client, request_id: str) -> None:
    page = looked_up(admin_client, request_id)
    assert "This is no request id" in page or "This field is required" in page


def test_an_unknown_request_id_says_so(admin_client: Client) -> None:
    assert "No usage event" in looked_up(admin_client, uuid4())
    assert "No usage event" in looked_up(admin_client, usage_event(1).event_id)


def test_a_look_up_needs_its_permission(client: Client, tenant: Tenant) -> None:
    event = use(tenant.pk)
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_usagerollup"))
    client.force_login(clerk)
    assert client.get(reverse(LOOK_UP), {"request_id": str(event.event_id)}).status_code == 403
    assert reverse(LOOK_UP) not in client.get(reverse("admin:index")).content.decode()


def test_rollups_are_listed_by_tenant_and_cannot_be_changed(admin_client: Client, tenant: Tenant) -> None:
    row, other = rollup(tenant), rollup(TenantFactory.create(name="Other Ltd"))
    page = admin_client.get(
        reverse("admin:metering_usagerollup_changelist"), {"tenant__id__exact": tenant.pk}
    )
    assert f"/{row.pk}/change/" in page.content.decode()
    assert f"/{other.pk}/change/" not in page.content.decode()
    change = reverse("admin:metering_usagerollup_change", args=[row.pk])
    assert admin_client.get(change).status_code == 200
    assert admin_client.post(change, {"calls": "1"}).status_code == 403
    assert admin_client.post(reverse("admin:metering_usagerollup_add"), {}).status_code == 403
    row.refresh_from_db()
    assert row.calls == 7


def test_a_list_of_rollups_asks_no_query_for_each(
    admin_client: Client, tenant: Tenant, django_assert_max_num_queries: object
) -> None:
    for number in range(40):
        rollup(TenantFactory.create() if number % 2 else tenant, model=f"model-{number}")
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        page = admin_client.get(reverse("admin:metering_usagerollup_changelist"))
    assert page.content.decode().count("data-row") >= 40


def test_a_conflict_shows_what_was_refused(admin_client: Client, tenant: Tenant) -> None:
    event: UsageEvent = usage_event(tenant.pk, model="qwen-refused")
    conflict = UsageConflict.objects.create(
        tenant=tenant,
        event_id=event.event_id,
        recorded_digest=b"\x01" * 32,
        refused_digest=b"\x02" * 32,
        refused=msgspec.to_builtins(event, builtin_types=()),
    )
    assert (
        "qwen-refused"
        in admin_client.get(reverse("admin:metering_usageconflict_changelist")).content.decode()
    )
    change = reverse("admin:metering_usageconflict_change", args=[conflict.pk])
    page = admin_client.get(change).content.decode()
    assert "01" * 32 in page
    assert "02" * 32 in page
    assert admin_client.post(change, {}).status_code == 403
    assert (
        admin_client.post(reverse("admin:metering_usageconflict_delete", args=[conflict.pk])).status_code
        == 403
    )
