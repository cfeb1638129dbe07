"""`GET` and `POST /api/v1/cache/invalidations`."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from cacheproxy.invalidations import MAX_PER_MINUTE
from cacheproxy.models import CacheInvalidation, ServedModel
from tenants.models import Scope, User
from tests.billing.api.conftest import Caller, caller
from tests.factories.tenants import TenantFactory

URL = "/api/v1/cache/invalidations"
pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Caller:
    ServedModel.objects.create(name="small")
    return caller(TenantFactory.create(slug="acme", name="Acme Ltd"), Scope.CACHE_WRITE)


@pytest.fixture
def stranger() -> Caller:
    return caller(TenantFactory.create(slug="stranger"), Scope.CACHE_WRITE)


def staff(*permissions: str) -> Client:
    client, user = Client(), User.objects.create_user("ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def post(client: Client, **stated: Any) -> Any:
    return client.post(URL, stated, content_type="application/json")


def refused(response: Any, status: int, code: str) -> str:
    assert (response.status_code, response.json()["code"]) == (status, code), response.content
    assert not CacheInvalidation.objects.exists()
    detail: str = response.json()["detail"]
    return detail


def test_a_tenant_ends_answers_of_its_own(acme: Caller, stranger: Caller) -> None:
    response = post(acme.client, model="small", tag="doc-1", reason="corrected")
    made = CacheInvalidation.objects.get()
    assert response.status_code == 201
    answer = response.json()
    assert answer.pop("made_at").endswith("Z")
    assert answer.pop("made_by").startswith("bi (zr_live_")
    assert answer == {
        "epoch": made.epoch,
        "tenant": "acme",
        "pool": None,
        "model": "small",
        "version": "",
        "session": "",
        "tag": "doc-1",
        "key": "",
        "matching": "",
        "answers": None,
        "reason": "corrected",
        "via": "api",
    }
    assert made.tenant == acme.tenant


def test_all_of_its_answers_have_to_be_asked_for(acme: Caller, stranger: Caller) -> None:
    assert "everything" in refused(post(acme.client), 400, "empty_selection")
    assert post(acme.client, everything=True).status_code == 201
    assert CacheInvalidation.objects.get().tenant == acme.tenant


def test_a_tenant_does_not_reach_another(acme: Caller, stranger: Caller) -> None:
    refused(post(acme.client, tenant="stranger", tag="t"), 404, "unknown_tenant")
    assert post(acme.client, tenant="acme", tag="t").status_code == 201


def test_each_tenant_sees_its_own_the_latest_first(acme: Caller, stranger: Caller) -> None:
    for number in range(3):
        post(acme.client, tag=f"t{number}")
    post(stranger.client, tag="other")
    CacheInvalidation.objects.create(tenant=acme.tenant, made_by="ann", via="admin")
    CacheInvalidation.objects.create(made_by="ann", via="command")
    page = acme.client.get(URL, {"page_size": 2}).json()
    rest = acme.client.get(page["next"]).json()["results"]
    assert page["results"][0]["made_by"] == "operator"
    assert [one["tag"] for one in (*page["results"], *rest)] == ["", "t2", "t1", "t0"]
    assert [one["tag"] for one in stranger.client.get(URL).json()["results"]] == ["other"]


@pytest.mark.parametrize(
    ("stated", "status", "code"),
    [
        ({"modle": "small"}, 400, "invalid_parameter"),
        ({"version": "1"}, 400, "unfit_selection"),
        ({"model": "large"}, 404, "unknown_model"),
        ({"tag": "a b"}, 400, "unfit_selection"),
        ({"tag": ""}, 400, "invalid_parameter"),
        ({"key": "k1:abc"}, 400, "unfit_selection"),
        ({"session": "s", "tag": "t"}, 400, "unfit_selection"),
        ({"tag": 7.5, "everything": "perhaps"}, 400, "invalid_parameter"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused(
    acme: Caller, stranger: Caller, stated: dict[str, Any], status: int, code: str
) -> None:
    refused(post(acme.client, **stated), status, code)


@pytest.mark.parametrize("body", ["[]", "[{}]", "7", "{"])
def test_what_is_no_object_is_refused(acme: Caller, stranger: Caller, body: str) -> None:
    response = acme.client.post(URL, body, content_type="application/json")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert not CacheInvalidation.objects.exists()


def test_too_many_are_refused(acme: Caller, stranger: Caller) -> None:
    rows = [CacheInvalidation(tenant=acme.tenant, made_by="x", via="api") for _ in range(MAX_PER_MINUTE)]
    CacheInvalidation.objects.bulk_create(rows)
    response = post(acme.client, tag="t")
    assert (response.status_code, response.json()["code"]) == (429, "too_many_invalidations")
    assert post(stranger.client, tag="t").status_code == 201


@pytest.mark.parametrize("scope", [Scope.INFERENCE, Scope.USAGE_READ])
def test_a_key_without_the_scope_is_refused(acme: Caller, stranger: Caller, scope: Scope) -> None:
    refused(post(acme.with_scope(scope), tag="t"), 403, "scope_missing")
    assert acme.with_scope(scope).get(URL).status_code == 403


def test_without_a_key_there_is_nothing(acme: Caller, stranger: Caller) -> None:
    refused(post(Client(), tag="t"), 401, "invalid_api_key")


def test_staff_may_name_any_tenant_or_none(acme: Caller, stranger: Caller) -> None:
    ann = staff("add_cacheinvalidation", "view_cacheinvalidation")
    refused(post(ann), 400, "empty_selection")
    refused(post(ann, tenant="nobody"), 404, "unknown_tenant")
    assert post(ann, tenant="stranger").json()["tenant"] == "stranger"
    assert post(ann, model="small").json()["tenant"] is None
    made = post(ann, everything=True).json()
    assert (made["tenant"], made["made_by"]) == (None, "ann")
    assert len(ann.get(URL).json()["results"]) == 3


def test_staff_who_may_look_may_not_invalidate(acme: Caller, stranger: Caller) -> None:
    ann = staff("view_cacheinvalidation")
    assert ann.get(URL).status_code == 200
    refused(post(ann, everything=True), 401, "invalid_api_key")


def test_another_sites_form_is_refused(acme: Caller, stranger: Caller) -> None:
    ann = staff("add_cacheinvalidation")
    ann.handler.enforce_csrf_checks = True
    assert post(ann, everything=True).status_code == 403
    assert not CacheInvalidation.objects.exists()
