"""Ending answers on record: the service, and the command over it."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from cacheproxy.errors import (
    CacheError,
    EmptySelection,
    TooManyInvalidations,
    UnfitSelection,
    UnknownModel,
)
from cacheproxy.invalidations import MAX_PER_MINUTE, Author, Selection, invalidate
from cacheproxy.models import CacheInvalidation, ServedModel
from tenants.models import Tenant
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db
KEY = f"k1:{'0a' * 32}"
Via = CacheInvalidation.Via


@pytest.fixture
def acme() -> Tenant:
    ServedModel.objects.create(name="small")
    return TenantFactory.create(slug="acme", name="Acme Ltd")


def invalidated(*, via: Via = Via.ADMIN, everything: bool = False, **stated: Any) -> CacheInvalidation:
    return invalidate(
        selection=Selection(**stated),
        author=Author("ann", via),
        now=timezone.now(),
        reason="wrong",
        everything=everything,
    )


def test_what_was_ended_is_on_record(acme: Tenant) -> None:
    made = invalidated(tenant=acme, model="small", version="2", tag="doc-1")
    made.refresh_from_db()
    assert (made.tenant, made.model, made.version, made.tag) == (acme, "small", "2", "doc-1")
    assert (made.made_by, made.via, made.reason) == ("ann", "admin", "wrong")
    assert timezone.now() - made.made_at < timedelta(minutes=1)
    assert str(made) == "tenant Acme Ltd, model small, version 2, tag doc-1"
    assert str(invalidated(everything=True)) == "everything"


def test_epochs_only_grow(acme: Tenant) -> None:
    epochs = [invalidated(tenant=acme).epoch for _ in range(3)]
    assert epochs == sorted(set(epochs))


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ({}, EmptySelection),
        ({"version": "1"}, UnfitSelection),
        ({"session": "s"}, UnfitSelection),
        ({"tenant": True, "session": "s", "tag": "t"}, UnfitSelection),
        ({"tenant": True, "session": "ü" * 129}, UnfitSelection),
        ({"key": KEY, "tag": "t"}, UnfitSelection),
        ({"key": "abc"}, UnfitSelection),
        ({"tag": "a b"}, UnfitSelection),
        ({"tag": "a,b"}, UnfitSelection),
        ({"tag": "a\n"}, UnfitSelection),
        ({"model": "large"}, UnknownModel),
        ({"tag": "t", "everything": True}, UnfitSelection),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(
    acme: Tenant, stated: dict[str, Any], problem: type[CacheError]
) -> None:
    if "tenant" in stated:
        stated = stated | {"tenant": acme}
    with pytest.raises(problem):
        invalidated(**stated)
    assert not CacheInvalidation.objects.exists()


def test_a_tenant_is_held_to_a_rate(acme: Tenant) -> None:
    for number in range(MAX_PER_MINUTE):
        invalidated(via=Via.API, tenant=acme, tag=str(number))
    with pytest.raises(TooManyInvalidations, match="a tag or the model"):
        invalidated(via=Via.API, tenant=acme, tag="more")
    invalidated(via=Via.ADMIN, tenant=acme)
    invalidated(via=Via.API, tenant=TenantFactory.create())


@pytest.mark.parametrize("change", ["UPDATE {} SET reason = ''", "DELETE FROM {}"])
def test_records_are_never_changed(acme: Tenant, change: str) -> None:
    invalidated(tenant=acme)
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change.format("cacheproxy_cacheinvalidation"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tenant", "acme"], "tenant Acme Ltd"),
        (["--model", "small", "--version", "2"], "model small, version 2"),
        (["--tenant", "acme", "--session", "s1"], "tenant Acme Ltd, session s1"),
        (["--tag", "doc-1"], "tag doc-1"),
        (["--key", KEY], f"key {KEY}"),
        (["--all", "--reason", "moved"], "everything"),
    ],
    ids=" ".join,
)
def test_the_command_ends_what_is_named(
    acme: Tenant, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    call_command("invalidate_cache", *options)
    made = CacheInvalidation.objects.get()
    assert capsys.readouterr().out == f"Invalidated: {said} (epoch {made.epoch}).\n"
    assert (made.via, bool(made.made_by)) == ("command", True)
    assert made.reason == ("moved" if "--reason" in options else "")


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ([], "or --all for every answer"),
        (["--tenant", "acmee"], "Did you mean acme?"),
        (["--model", "large"], "no model “large”"),
        (["--all", "--tag", "t"], "state one or the other"),
    ],
    ids=" ".join,
)
def test_the_command_names_the_remedy(acme: Tenant, options: list[str], remedy: str) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("invalidate_cache", *options)
    assert remedy in str(refused.value)
    assert not CacheInvalidation.objects.exists()
