"""Invalidations in the operator's admin: made by a form, on record, never changed."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from cacheproxy.models import CacheInvalidation, ServedModel
from tenants.models import Tenant, User
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db
ADD = "/admin/cacheproxy/cacheinvalidation/add/"


@pytest.fixture
def acme() -> Tenant:
    ServedModel.objects.create(name="small")
    return TenantFactory.create(slug="acme", name="Acme Ltd")


def posted(client: Client, **stated: str) -> str:
    return client.post(ADD, stated, follow=True).content.decode()


def test_the_form_ends_what_is_stated_in_the_operators_name(admin_client: Client, acme: Tenant) -> None:
    page = posted(admin_client, tenant=str(acme.pk), model="small", tag="doc-1", reason="corrected")
    made = CacheInvalidation.objects.get()
    assert (made.tenant, made.model, made.tag, made.reason) == (acme, "small", "doc-1", "corrected")
    assert (made.made_by, made.via) == ("admin", "admin")
    assert "tenant Acme Ltd, model small, tag doc-1" in page


def test_everything_has_to_be_asked_for(admin_client: Client, acme: Tenant) -> None:
    assert "Name what to invalidate" in posted(admin_client)
    assert "state one or the other" in posted(admin_client, tag="t", everything="on")
    assert not CacheInvalidation.objects.exists()
    assert "everything" in posted(admin_client, everything="on")
    assert CacheInvalidation.objects.get().tenant is None


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"version": "1"}, "name the model as well"),
        ({"session": "s"}, "name the tenant as well"),
        ({"key": "abc"}, "64 hexadecimal digits"),
        ({"model": "large"}, "Select a valid choice"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_said_on_the_form(
    admin_client: Client, acme: Tenant, stated: dict[str, str], said: str
) -> None:
    assert said in posted(admin_client, **stated)
    assert not CacheInvalidation.objects.exists()


def test_tenants_and_models_lead_to_the_form_filled_in(admin_client: Client, acme: Tenant) -> None:
    model = ServedModel.objects.get()
    page = admin_client.get(reverse("admin:tenants_tenant_change", args=[acme.pk])).content.decode()
    assert f"{ADD}?tenant={acme.pk}" in page
    page = admin_client.get(reverse("admin:cacheproxy_servedmodel_change", args=[model.pk])).content.decode()
    assert f"{ADD}?model=small" in page
    form = admin_client.get(ADD, {"tenant": str(acme.pk), "model": "small"}).context["adminform"].form
    assert (form["tenant"].value(), form["model"].value()) == (str(acme.pk), "small")


def test_records_are_looked_at_and_not_changed(admin_client: Client, acme: Tenant) -> None:
    posted(admin_client, tenant=str(acme.pk), reason="corrected")
    made = CacheInvalidation.objects.get()
    page = reverse("admin:cacheproxy_cacheinvalidation_change", args=[made.pk])
    assert "corrected" in admin_client.get(page).content.decode()
    assert admin_client.post(page, {"reason": "other"}).status_code == 403
    delete = reverse("admin:cacheproxy_cacheinvalidation_delete", args=[made.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403


def test_staff_who_may_look_see_no_button_and_no_form(client: Client, acme: Tenant) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(
        Permission.objects.filter(codename__in=["view_tenant", "view_cacheinvalidation"])
    )
    client.force_login(clerk)
    page = client.get(reverse("admin:tenants_tenant_change", args=[acme.pk])).content.decode()
    assert "Invalidate cache" not in page
    assert client.post(ADD, {"everything": "on"}).status_code == 403
    assert client.get(reverse("admin:cacheproxy_cacheinvalidation_changelist")).status_code == 200
    assert not CacheInvalidation.objects.exists()
