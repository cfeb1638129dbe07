"""Who may call the API: asked of `GET /api/v1/usage.csv`, which any good key of the right scope may."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tenants.models import ApiKey, Scope, Tenant
from tenants.services import issue_key, note_key_use, revoke_key
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db
URL = "/api/v1/usage.csv"


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create()


def problem_of(client: Client, status: int, **headers: str) -> dict[str, object]:
    response = client.get(URL, headers=headers)
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, object] = response.json()
    assert body["status"] == status
    assert body["type"] == f"urn:zerorate:problem:{body['code']}"
    return body


@pytest.mark.parametrize("header", ["bearer", "x-api-key"])
def test_a_key_of_the_scope_may_call_in_either_header(client: Client, tenant: Tenant, header: str) -> None:
    text = issue_key(tenant=tenant, name="bi", now=timezone.now(), scopes=[Scope.USAGE_READ]).text
    headers = {"Authorization": f"Bearer {text}"} if header == "bearer" else {"x-api-key": text}
    response = client.get(URL, headers=headers)
    assert response.status_code == 200
    assert response["Cache-Control"] == "private, no-store"


def test_no_key_is_told_how_to_send_one(client: Client) -> None:
    body = problem_of(client, 401)
    assert body["code"] == "invalid_api_key"
    assert "Authorization: Bearer" in str(body["detail"])


def test_a_refusal_names_the_scheme(client: Client) -> None:
    assert client.get(URL)["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("text", ["", "zr_live_", "zr_live_" + "0" * 50, "sk-something", "zr_live_ü"])
def test_what_is_no_key_is_refused_without_a_look_up(
    client: Client, text: str, django_assert_num_queries: pytest.FixtureRequest
) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert problem_of(client, 401, Authorization=f"Bearer {text}")["code"] == "invalid_api_key"


def test_a_revoked_key_is_refused(client: Client, tenant: Tenant) -> None:
    issued = issue_key(tenant=tenant, name="bi", now=timezone.now())
    revoke_key(api_key=issued.api_key, now=timezone.now())
    problem_of(client, 401, Authorization=f"Bearer {issued.text}")


def test_an_expired_key_is_refused(client: Client, tenant: Tenant) -> None:
    now = timezone.now()
    issued = issue_key(tenant=tenant, name="bi", now=now, expires_at=now - timedelta(seconds=1))
    problem_of(client, 401, Authorization=f"Bearer {issued.text}")


def test_a_key_without_the_scope_is_told_which(client: Client, tenant: Tenant) -> None:
    issued = issue_key(tenant=tenant, name="bi", now=timezone.now(), scopes=[Scope.INFERENCE])
    body = problem_of(client, 403, Authorization=f"Bearer {issued.text}")
    assert body["code"] == "scope_missing"
    assert "usage:read" in str(body["detail"])


def last_used_at(api_key: ApiKey) -> object:
    return ApiKey.objects.values_list("last_used_at", flat=True).get(pk=api_key.pk)


def test_use_is_noted_of_the_key_used_and_no_other(client: Client, tenant: Tenant) -> None:
    used, idle = (issue_key(tenant=tenant, name=name, now=timezone.now()) for name in ("used", "idle"))
    before = timezone.now()
    client.get(URL, headers={"x-api-key": used.text})
    noted = ApiKey.objects.get(pk=used.api_key.pk).last_used_at
    assert noted is not None
    assert before <= noted <= timezone.now()
    assert last_used_at(idle.api_key) is None


def test_use_is_noted_once_a_minute(tenant: Tenant) -> None:
    now = timezone.now()
    api_key = issue_key(tenant=tenant, name="busy", now=now).api_key
    for seconds, expected in ((0, 0), (59, 0), (60, 60), (61, 60)):
        note_key_use(api_key=api_key, now=now + timedelta(seconds=seconds))
        assert last_used_at(api_key) == now + timedelta(seconds=expected)


def test_a_refused_key_was_not_used(client: Client, tenant: Tenant) -> None:
    issued = issue_key(tenant=tenant, name="bi", now=timezone.now(), scopes=[Scope.INFERENCE])
    client.get(URL, headers={"x-api-key": issued.text})
    assert last_used_at(issued.api_key) is None
