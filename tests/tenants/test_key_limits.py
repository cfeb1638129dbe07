"""Limits of keys: set when issued, changed later, inherited by a successor."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from tenants.errors import UnfitLimit
from tenants.models import ApiKey, Tenant
from tenants.services import KeyLimits, issue_key, limit_key, rotate_key
from tests.factories.tenants import ApiKeyFactory, TenantFactory

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ALL = KeyLimits(10, 20_000, 3, 500, ["qwen"], ["203.0.113.0/24", "2001:db8::/32"], enable_cache=False)
pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create(slug="acme")


def test_the_command_issues_a_limited_key(tenant: Tenant) -> None:
    call_command(
        "issue_key", "--tenant", "acme", "--name", "ci",
        "--requests-per-minute", "10", "--tokens-per-minute", "20000", "--concurrent-requests", "3",
        "--max-output-tokens", "500", "--model", "qwen", "--network", "203.0.113.0/24",
        "--network", "2001:db8::/32", "--no-cache", stdout=StringIO(),
    )  # fmt: skip
    assert KeyLimits.of(ApiKey.objects.get()) == ALL


def test_without_options_a_key_has_no_limits_of_its_own(tenant: Tenant) -> None:
    call_command("issue_key", "--tenant", "acme", "--name", "ci", stdout=StringIO())
    assert KeyLimits.of(ApiKey.objects.get()) == KeyLimits(allowed_models=[], allowed_networks=[])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--requests-per-minute", "0"),
        ("--max-output-tokens", "-1"),
        ("--network", "here"),
        ("--network", "10.0.0.1/8"),
    ],
)
def test_the_command_refuses_what_limits_nothing(tenant: Tenant, option: str, value: str) -> None:
    with pytest.raises(CommandError):
        call_command("issue_key", "--tenant", "acme", "--name", "ci", f"{option}={value}", stdout=StringIO())
    assert not ApiKey.objects.exists()


def test_a_successor_has_the_same_limits(tenant: Tenant) -> None:
    old = issue_key(tenant=tenant, name="ci", now=NOW, limits=ALL).api_key
    new = rotate_key(api_key=old, now=NOW, overlap=timedelta(0)).api_key
    assert KeyLimits.of(new) == ALL


def test_limits_change_later_whole_and_for_that_key_alone(tenant: Tenant) -> None:
    key = issue_key(tenant=tenant, name="ci", now=NOW, limits=ALL).api_key
    stranger = ApiKeyFactory.create(tenant=TenantFactory.create())
    limit_key(api_key=key, limits=KeyLimits(allowed_networks=["203.0.113.7"]))
    key.refresh_from_db()
    stranger.refresh_from_db()
    assert KeyLimits.of(key) == KeyLimits(allowed_models=[], allowed_networks=["203.0.113.7/32"])
    assert KeyLimits.of(stranger) == KeyLimits(allowed_models=[], allowed_networks=[])


@pytest.mark.parametrize("limits", [KeyLimits(requests_per_minute=0), KeyLimits(tokens_per_minute=2**31)])
def test_a_number_that_limits_nothing_is_refused(tenant: Tenant, limits: KeyLimits) -> None:
    key = issue_key(tenant=tenant, name="ci", now=NOW).api_key
    with pytest.raises(UnfitLimit, match="name a whole number above zero"):
        limit_key(api_key=key, limits=limits)


@pytest.mark.parametrize("values", [{"requests_per_minute": 0}, {"allowed_networks": ["here"]}])
def test_the_database_refuses_the_same(tenant: Tenant, values: dict[str, object]) -> None:
    key = issue_key(tenant=tenant, name="ci", now=NOW).api_key
    with pytest.raises(DatabaseError), transaction.atomic():
        ApiKey.objects.filter(pk=key.pk).update(**values)
