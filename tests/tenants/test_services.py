"""Keys are issued, revoked and rotated."""

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings

from tenants import keys
from tenants.errors import KeyNotUsable, KeyRefused, ScopeMissing, UnknownScope
from tenants.models import ApiKey, Scope, Tenant
from tenants.selectors import authenticate_key
from tenants.services import issue_key, revoke_key, rotate_key

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme Ltd")


def test_only_the_digest_is_stored(tenant: Tenant) -> None:
    issued = issue_key(tenant=tenant, name="ci", now=NOW)
    stored = ApiKey.objects.values().get()
    assert bytes(stored["digest"]) == keys.digest(issued.text, settings.KEY_PEPPER)
    assert issued.text not in str(stored)
    assert issued.text[20:52] not in str(stored)


def test_a_key_authenticates_for_its_scopes_only(tenant: Tenant) -> None:
    issued = issue_key(tenant=tenant, name="ci", now=NOW, scopes=[Scope.USAGE_READ])
    assert authenticate_key(text=issued.text, scope=Scope.USAGE_READ, now=NOW) == issued.api_key
    with pytest.raises(ScopeMissing, match="invoices:read"):
        authenticate_key(text=issued.text, scope=Scope.INVOICES_READ, now=NOW)


@pytest.mark.parametrize("scopes", [[], ["admin"], ["inference", "root"]])
def test_scopes_that_do_not_exist_are_refused(tenant: Tenant, scopes: list[str]) -> None:
    with pytest.raises(UnknownScope, match="inference"):
        issue_key(tenant=tenant, name="ci", now=NOW, scopes=scopes)
    assert not ApiKey.objects.exists()


def test_a_revoked_key_is_refused_and_stays_revoked_when_it_was(tenant: Tenant) -> None:
    issued = issue_key(tenant=tenant, name="ci", now=NOW)
    revoke_key(api_key=issued.api_key, now=NOW)
    revoke_key(api_key=issued.api_key, now=NOW + timedelta(days=1))
    assert ApiKey.objects.get().revoked_at == NOW
    with pytest.raises(KeyRefused, match="revoked"):
        authenticate_key(text=issued.text, scope=Scope.INFERENCE, now=NOW)


def test_a_malformed_key_is_refused_without_a_look_up(
    tenant: Tenant, django_assert_num_queries: object
) -> None:
    text = issue_key(tenant=tenant, name="ci", now=NOW).text
    with django_assert_num_queries(0), pytest.raises(KeyRefused, match="mistyped"):  # type: ignore[operator]
        authenticate_key(text=text[:-1], scope=Scope.INFERENCE, now=NOW)


def test_rotation_leaves_the_old_key_its_overlap(tenant: Tenant) -> None:
    old = issue_key(tenant=tenant, name="ci", now=NOW, scopes=[Scope.INFERENCE])
    new = rotate_key(api_key=old.api_key, now=NOW, overlap=timedelta(hours=1))
    assert (new.api_key.rotated_from, new.api_key.scopes) == (old.api_key, [Scope.INFERENCE])
    during, after = NOW + timedelta(minutes=59), NOW + timedelta(hours=1)
    assert authenticate_key(text=old.text, scope=Scope.INFERENCE, now=during) == old.api_key
    with pytest.raises(KeyRefused):
        authenticate_key(text=old.text, scope=Scope.INFERENCE, now=after)
    assert authenticate_key(text=new.text, scope=Scope.INFERENCE, now=after) == new.api_key


def test_rotation_never_lengthens_a_life(tenant: Tenant) -> None:
    end = NOW + timedelta(minutes=5)
    old = issue_key(tenant=tenant, name="ci", now=NOW, expires_at=end)
    rotate_key(api_key=old.api_key, now=NOW, overlap=timedelta(hours=1))
    assert ApiKey.objects.get(pk=old.api_key.pk).expires_at == end


def test_a_revoked_key_cannot_be_rotated(tenant: Tenant) -> None:
    issued = issue_key(tenant=tenant, name="ci", now=NOW)
    revoke_key(api_key=issued.api_key, now=NOW)
    with pytest.raises(KeyNotUsable):
        rotate_key(api_key=issued.api_key, now=NOW, overlap=timedelta(hours=1))
    assert ApiKey.objects.count() == 1
