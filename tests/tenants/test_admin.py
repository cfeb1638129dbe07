"""The operator's pages for tenants and keys: levers, permissions, and a key shown once."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tenants.models import ApiKey, Member, Scope, Tenant, User
from tenants.selectors import authenticate_key
from tenants.services import issue_key, revoke_key

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = re.compile(r"zr_live_[0-9A-Za-z]{50}")
pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme Ltd")


@pytest.fixture
def stranger() -> Tenant:
    return Tenant.objects.create(slug="other", name="Other Ltd")


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", password="secret", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def lever(name: str, row: Tenant | ApiKey) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_{name}", args=[row.pk])


def test_a_key_is_shown_once_and_found_nowhere_else(
    admin_client: Client, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    form = {"key_name": "ci", "scopes": ["inference", "usage:read"]}
    answer = admin_client.post(lever("issue-key", tenant), form)
    (text,) = set(KEY.findall(answer.content.decode()))
    assert authenticate_key(text=text, scope=Scope.USAGE_READ, now=timezone.now()).name == "ci"
    assert "no-store" in answer["Cache-Control"]
    secret = text[20:52]
    assert secret not in answer.request["PATH_INFO"] + str(answer.headers) + caplog.text
    assert not [told for told in get_messages(answer.wsgi_request) if secret in str(told)]
    assert secret not in str([session.get_decoded() for session in Session.objects.all()])
    assert secret not in str(list(LogEntry.objects.values()))
    key = ApiKey.objects.get()
    for page in [reverse("admin:tenants_tenant_change", args=[tenant.pk]), lever("rotate", key)]:
        shown = admin_client.get(page).content.decode()
        assert secret not in shown
        assert bytes(key.digest).hex() not in shown
        assert str(bytes(key.digest)) not in shown


def test_a_key_that_would_end_in_the_past_is_refused_on_the_form(
    admin_client: Client, tenant: Tenant
) -> None:
    form = {
        "key_name": "ci",
        "scopes": ["inference"],
        "expires_at_0": "2020-01-01",
        "expires_at_1": "00:00:00",
    }
    answer = admin_client.post(lever("issue-key", tenant), form)
    assert "This has passed already" in answer.content.decode()
    answer = admin_client.post(lever("issue-key", tenant), {"key_name": "ci", "scopes": ["root"]})
    assert "root is not one of the available choices" in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_rotation_shows_the_successor_and_ends_the_old_key_after_the_overlap(
    admin_client: Client, tenant: Tenant
) -> None:
    old = issue_key(tenant=tenant, name="ci", now=NOW, scopes=[Scope.INFERENCE])
    answer = admin_client.post(lever("rotate", old.api_key), {"overlap": "1"})
    (text,) = set(KEY.findall(answer.content.decode()))
    new = authenticate_key(text=text, scope=Scope.INFERENCE, now=timezone.now())
    assert (new.rotated_from, new.name) == (old.api_key, "ci")
    old.api_key.refresh_from_db()
    assert old.api_key.expires_at is not None
    assert timedelta(minutes=59) < old.api_key.expires_at - timezone.now() <= timedelta(hours=1)


def test_a_revoked_key_stops_and_offers_no_levers(admin_client: Client, tenant: Tenant) -> None:
    issued = issue_key(tenant=tenant, name="ci", now=NOW)
    answer = admin_client.post(lever("revoke", issued.api_key), follow=True)
    assert "is revoked." in answer.content.decode()
    issued.api_key.refresh_from_db()
    assert issued.api_key.revoked_at is not None
    page = admin_client.get(reverse("admin:tenants_apikey_change", args=[issued.api_key.pk])).content.decode()
    assert lever("revoke", issued.api_key) not in page
    assert lever("rotate", issued.api_key) not in page
    answer = admin_client.post(lever("rotate", issued.api_key), {"overlap": "1"}, follow=True)
    assert "does not apply" in answer.content.decode()
    assert ApiKey.objects.count() == 1


def test_only_the_name_of_a_key_can_be_edited(admin_client: Client, tenant: Tenant, stranger: Tenant) -> None:
    key = issue_key(tenant=tenant, name="ci", now=NOW, scopes=[Scope.USAGE_READ]).api_key
    form = {"name": "nightly", "tenant": stranger.pk, "scopes": "inference", "revoked_at_0": "2020-01-01"}
    admin_client.post(reverse("admin:tenants_apikey_change", args=[key.pk]), form)
    before = ApiKey.objects.values().get()
    assert before["name"] == "nightly"
    assert (before["tenant_id"], before["scopes"], before["revoked_at"]) == (tenant.pk, ["usage:read"], None)
    assert admin_client.get(reverse("admin:tenants_apikey_add")).status_code == 403
    assert admin_client.post(reverse("admin:tenants_apikey_delete", args=[key.pk])).status_code == 403


def test_suspending_changes_that_tenant_only_and_can_be_undone(
    admin_client: Client, tenant: Tenant, stranger: Tenant
) -> None:
    admin_client.post(lever("suspend", tenant))
    assert dict(Tenant.objects.values_list("slug", "status")) == {"acme": "suspended", "other": "active"}
    assert "does not apply" in admin_client.post(lever("suspend", tenant), follow=True).content.decode()
    admin_client.post(lever("activate", tenant))
    tenant.refresh_from_db()
    assert tenant.status == "active"
    assert [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")] == [
        "Suspend.",
        "Activate.",
    ]


def test_looking_at_a_lever_changes_nothing(admin_client: Client, tenant: Tenant) -> None:
    for name in ["suspend", "issue-key"]:
        assert admin_client.get(lever(name, tenant)).status_code == 200
    assert Tenant.objects.get().status == "active"
    assert not ApiKey.objects.exists()


def test_a_change_without_a_csrf_token_is_refused(tenant: Tenant) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root", password="secret"))
    assert client.post(lever("suspend", tenant)).status_code == 403
    assert Tenant.objects.get().status == "active"


@pytest.mark.parametrize("name", ["suspend", "issue-key"])
def test_staff_without_the_permission_see_and_pull_no_lever(tenant: Tenant, name: str) -> None:
    client = staff("tenants.view_tenant")
    page = client.get(reverse("admin:tenants_tenant_change", args=[tenant.pk]))
    assert page.status_code == 200
    assert lever(name, tenant) not in page.content.decode()
    assert client.get(lever(name, tenant)).status_code == 403
    assert client.post(lever(name, tenant), {"key_name": "ci", "scopes": ["inference"]}).status_code == 403
    assert Tenant.objects.get().status == "active"
    assert not ApiKey.objects.exists()


def test_staff_without_permissions_see_no_tenant(tenant: Tenant) -> None:
    client = staff()
    assert client.get(reverse("admin:tenants_tenant_changelist")).status_code == 403
    assert client.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).status_code == 403
    assert (
        reverse("admin:tenants_tenant_changelist") not in client.get(reverse("admin:index")).content.decode()
    )


def test_who_is_not_staff_is_asked_to_sign_in(client: Client, tenant: Tenant) -> None:
    client.force_login(User.objects.create_user("member", password="secret"))
    answer = client.post(lever("suspend", tenant))
    assert (answer.status_code, answer["Location"].split("?")[0]) == (302, reverse("admin:login"))
    assert Tenant.objects.get().status == "active"


def test_staff_cannot_make_themselves_superusers() -> None:
    client = staff("tenants.view_user", "tenants.change_user", "tenants.add_user")
    clerk = User.objects.get(username="clerk")
    page = reverse("admin:tenants_user_change", args=[clerk.pk])
    assert client.get(page).status_code == 200
    assert client.post(page, {"username": "clerk", "is_superuser": "on"}).status_code == 403
    clerk.refresh_from_db()
    assert not clerk.is_superuser


def test_members_are_added_on_the_tenants_page(admin_client: Client, tenant: Tenant) -> None:
    ann = User.objects.create_user("ann")
    form = {
        "name": "Acme Ltd",
        "members-TOTAL_FORMS": "1",
        "members-INITIAL_FORMS": "0",
        "members-0-user": str(ann.pk),
        "members-0-role": "finance",
    } | {
        f"{inline}-{count}_FORMS": "0"
        for inline in ("subscriptions", "budgets", "api_keys", "pool_memberships")
        for count in ("TOTAL", "INITIAL")
    }
    answer = admin_client.post(reverse("admin:tenants_tenant_change", args=[tenant.pk]), form)
    assert answer.status_code == 302
    assert Member.objects.values("tenant", "user", "role").get() == {
        "tenant": tenant.pk,
        "user": ann.pk,
        "role": "finance",
    }


def test_no_tenant_can_be_deleted(admin_client: Client, tenant: Tenant) -> None:
    assert admin_client.post(reverse("admin:tenants_tenant_delete", args=[tenant.pk])).status_code == 403
    assert Tenant.objects.exists()


def test_a_list_of_keys_asks_no_query_for_each(
    admin_client: Client, tenant: Tenant, stranger: Tenant, django_assert_max_num_queries: object
) -> None:
    for number in range(30):
        issued = issue_key(tenant=[tenant, stranger][number % 2], name=f"key {number}", now=NOW)
    revoke_key(api_key=issued.api_key, now=NOW)
    with django_assert_max_num_queries(10):  # type: ignore[operator]
        page = admin_client.get(reverse("admin:tenants_apikey_changelist")).content.decode()
    assert page.count("zr_live_") == 30
