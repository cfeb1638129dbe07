"""Upstreams and models in the operator's admin: policies are checked as ``manage.py apply`` checks them."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from cacheproxy.models import ServedModel, Upstream
from tenants.models import User

pytestmark = pytest.mark.django_db


LIMITS = {
    "timeout_seconds": "5",
    "connect_timeout_seconds": "5",
    "idle_timeout_seconds": "60",
    "breaker_failures": "5",
    "breaker_open_seconds": "10",
    "targets-TOTAL_FORMS": "0",
    "targets-INITIAL_FORMS": "0",
}


@pytest.fixture
def upstream() -> Upstream:
    return Upstream.objects.create(name="local", protocol="predict", url="http://127.0.0.1:9100/predict")


def posted(client: Client, upstream: Upstream, **changes: str) -> str:
    form = {
        "name": "ocr",
        "enabled": "on",
        "version": "1",
        "retry": "safe",
        "cache": "{}",
        "metering": "{}",
    } | target_forms({"upstream": str(upstream.pk), "weight": "1", "priority": "0"})
    return client.post(
        reverse("admin:cacheproxy_servedmodel_add"), form | changes, follow=True
    ).content.decode()


def target_forms(*targets: dict[str, str]) -> dict[str, str]:
    """Return the part of a model's form that says where it is served."""
    form = {"targets-TOTAL_FORMS": str(len(targets)), "targets-INITIAL_FORMS": "0"}
    return form | {
        f"targets-{number}-{name}": value
        for number, target in enumerate(targets)
        for name, value in target.items()
    }


def test_a_model_is_added_with_its_policies(admin_client: Client, upstream: Upstream) -> None:
    cache = '{"ttl_seconds": 60, "volatile_fields": ["/meta/request_id"]}'
    posted(admin_client, upstream, cache=cache, metering='{"units": {"per_call": 1}}')
    model = ServedModel.objects.get()
    assert model.cache == {"ttl_seconds": 60, "volatile_fields": ["/meta/request_id"]}
    assert model.metering == {"units": {"per_call": 1}}
    assert model.targets.get().upstream == upstream


def test_a_model_without_a_target_is_refused(admin_client: Client, upstream: Upstream) -> None:
    page = posted(admin_client, upstream, **target_forms())
    assert "A model is served by at least one upstream." in page
    assert not ServedModel.objects.exists()


def test_targets_that_speak_different_protocols_are_refused(admin_client: Client, upstream: Upstream) -> None:
    other = Upstream.objects.create(name="other", protocol="openai", url="http://127.0.0.1:9200/v1")
    both = [{"upstream": str(each.pk), "weight": "1", "priority": "0"} for each in (upstream, other)]
    page = posted(admin_client, upstream, **target_forms(*both))
    assert "The targets of a model speak one protocol; these speak openai, predict." in page
    assert not ServedModel.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cache", '{"ttl": 60}', "ttl"),
        ("cache", '{"ttl_seconds": 0}', "cache.ttl_seconds"),
        ("cache", '{"volatile_fields": ["timestamp"]}', "cache.volatile_fields"),
        ("cache", "[]", "cache: Expected `object`"),
        ("cache", "{", "Enter a valid JSON"),
        ("metering", '{"pages": {"per_call": 1}}', "name one of"),
        ("metering", '{"units": {"per_call": 1, "per_kib": 1}}', "name exactly one of"),
    ],
)
def test_a_policy_with_a_mistake_is_refused_by_name(
    admin_client: Client, upstream: Upstream, field: str, value: str, message: str
) -> None:
    assert message in posted(admin_client, upstream, **{field: value})
    assert not ServedModel.objects.exists()


def test_an_upstream_without_http_is_refused_on_the_form(admin_client: Client) -> None:
    form = {"name": "local", "protocol": "openai", "url": "ftp://here"} | LIMITS
    answer = admin_client.post(reverse("admin:cacheproxy_upstream_add"), form)
    assert answer.status_code == 200
    assert "A URL begins with http:// or https://." in answer.content.decode()
    assert not Upstream.objects.exists()


def test_an_upstream_in_use_is_not_deleted(admin_client: Client, upstream: Upstream) -> None:
    ServedModel.objects.create(name="ocr").targets.create(upstream=upstream)
    admin_client.post(reverse("admin:cacheproxy_upstream_delete", args=[upstream.pk]), {"post": "yes"})
    assert Upstream.objects.exists()


def test_staff_who_may_look_may_not_change(client: Client, upstream: Upstream) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_upstream"))
    client.force_login(clerk)
    page = reverse("admin:cacheproxy_upstream_change", args=[upstream.pk])
    assert client.get(page).status_code == 200
    assert client.post(page, {"name": "evil"}).status_code == 403
    assert client.get(reverse("admin:cacheproxy_servedmodel_changelist")).status_code == 403
    upstream.refresh_from_db()
    assert upstream.name == "local"
