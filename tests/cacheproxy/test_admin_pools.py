"""Pools in the operator's admin: joined and left from a tenant's page, each in the operator's name."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from cacheproxy.models import CacheInvalidation, CachePool, PoolMembership, ServedModel, Upstream
from tenants.models import Tenant, User
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db
NO_MEMBERS = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}


@pytest.fixture
def acme() -> Tenant:
    return TenantFactory.create(slug="acme", name="Acme Ltd")


@pytest.fixture
def pool() -> CachePool:
    return CachePool.objects.create(name="public")


def lever(name: str, row: Tenant | CachePool) -> str:
    app = row._meta.app_label
    return reverse(f"admin:{app}_{row._meta.model_name}_{name}", args=[row.pk])


def test_a_pool_is_made_and_keeps_its_name(admin_client: Client) -> None:
    admin_client.post(reverse("admin:cacheproxy_cachepool_add"), {"name": "Public"} | NO_MEMBERS)
    assert not CachePool.objects.exists()
    admin_client.post(reverse("admin:cacheproxy_cachepool_add"), {"name": "public"} | NO_MEMBERS)
    pool = CachePool.objects.get()
    before = bytes(pool.secret)
    page = reverse("admin:cacheproxy_cachepool_change", args=[pool.pk])
    admin_client.post(page, {"name": "other", "pad_hits": "on"} | NO_MEMBERS)
    pool.refresh_from_db()
    assert (pool.name, pool.pad_hits, bytes(pool.secret)) == ("public", True, before)
    delete = reverse("admin:cacheproxy_cachepool_delete", args=[pool.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403


def test_a_tenant_joins_on_somebodys_word_and_leaves(
    admin_client: Client, acme: Tenant, pool: CachePool
) -> None:
    said = {"pool": str(pool.pk), "agreed_by": ""}
    admin_client.post(lever("join-pool", acme), said)
    assert not PoolMembership.objects.exists()
    page = admin_client.post(lever("join-pool", acme), said | {"agreed_by": "Bob of Acme"}, follow=True)
    assert "shares answers in public" in page.content.decode()
    stay = PoolMembership.objects.get()
    assert (stay.tenant, stay.agreed_by, stay.joined_by, stay.joined_via) == (
        acme,
        "Bob of Acme",
        "admin",
        "admin",
    )
    pools = admin_client.get(reverse("admin:cacheproxy_cachepool_change", args=[pool.pk])).content.decode()
    assert "Acme Ltd" in pools
    assert "Bob of Acme" in pools
    page = admin_client.post(lever("leave-pool", acme), {"pool": str(pool.pk)}, follow=True)
    assert "has left public" in page.content.decode()
    assert PoolMembership.objects.get().left_by == "admin"
    assert CacheInvalidation.objects.get().made_by == "admin"


def test_a_secret_is_rotated_for_a_reason(admin_client: Client, pool: CachePool) -> None:
    before = bytes(pool.secret)
    admin_client.post(lever("rotate-secret", pool), {"reason": ""})
    pool.refresh_from_db()
    assert bytes(pool.secret) == before
    admin_client.post(lever("rotate-secret", pool), {"reason": "once a year"})
    pool.refresh_from_db()
    assert bytes(pool.secret) != before
    assert CacheInvalidation.objects.get().reason == "once a year"


def test_a_policy_names_a_pool_that_there_is(admin_client: Client, pool: CachePool) -> None:
    upstream = Upstream.objects.create(name="local", protocol="openai", url="http://127.0.0.1:1/v1")
    form = {
        "name": "small", "version": "1", "retry": "safe", "metering": "{}", "enabled": "on",
        "targets-TOTAL_FORMS": "1", "targets-INITIAL_FORMS": "0",
        "targets-0-upstream": str(upstream.pk), "targets-0-weight": "1", "targets-0-priority": "0",
    }  # fmt: skip
    add = reverse("admin:cacheproxy_servedmodel_add")
    page = admin_client.post(add, form | {"cache": '{"scope": "pool", "pool": "private"}'})
    assert "there is no pool “private”" in page.content.decode()
    admin_client.post(add, form | {"cache": '{"scope": "pool", "pool": "public"}'})
    assert ServedModel.objects.get().cache["pool"] == "public"


def test_staff_who_may_look_pull_no_lever(client: Client, acme: Tenant, pool: CachePool) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_tenant", "view_cachepool", "view_poolmembership"])
    )
    client.force_login(clerk)
    said = {"pool": str(pool.pk), "agreed_by": "Eve"}
    assert client.post(lever("join-pool", acme), said).status_code == 403
    assert client.post(lever("rotate-secret", pool), {"reason": "why not"}).status_code == 403
    assert not PoolMembership.objects.exists()
