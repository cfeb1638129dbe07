"""Ending the answers of questions that match an expression: the service, the command, the API and the admin."""

import base64
import os
import time
from datetime import timedelta
from hashlib import sha256
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from cacheproxy import invalidations, matching
from cacheproxy.cache.at_rest import AtRest
from cacheproxy.cache.sealing import Keyring
from cacheproxy.errors import TooManyInvalidations, UnfitSelection, UnknownModel
from cacheproxy.invalidations import Author, Matched, Selection, invalidate, invalidate_matching
from cacheproxy.models import CacheInvalidation, ServedModel
from cacheproxy.semantic.kept import Keeping, Kept
from tenants.models import Scope, Tenant
from tests.billing.api.conftest import caller
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db
Via = CacheInvalidation.Via
URL = "/api/v1/cache/invalidations"
INSERT = """
INSERT INTO cacheproxy_semanticentry (context, answer_key, tenant_id, scope, model, version, region, created_at,
                                      expires_at, question, embedding)
VALUES (%s, %s, %s, '', %s, '1', 0, now(), now() + interval '1 hour', %s, array_fill(0.05, ARRAY[384])::halfvec)
"""


@pytest.fixture(autouse=True)
def _no_entries(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM cacheproxy_semanticentry")


@pytest.fixture
def acme() -> Tenant:
    ServedModel.objects.create(name="small")
    ServedModel.objects.create(name="large")
    return TenantFactory.create(slug="acme", name="Acme Ltd")


def ask(tenant: Tenant, *texts: str, model: str = "small", keys: str = "") -> list[str]:
    """Keep questions as a gateway does, and return under which keys their answers are."""
    keeping = Keeping(AtRest(keyring=Keyring.parse(keys) if keys else None))
    names = []
    for text in texts:
        key = f"k1:{sha256(f'{tenant.pk} {model} {text}'.encode()).hexdigest()}"
        context = sha256(f"{tenant.pk} {model}".encode()).digest()
        question = keeping.wrap(context, key.encode(), Kept(text, text.encode(), b""))
        with connection.cursor() as cursor:
            cursor.execute(INSERT, [context, key.encode(), tenant.pk, model, question])
        names.append(key)
    return names


def kept() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT answer_key FROM cacheproxy_semanticentry")
        return {bytes(key).decode() for (key,) in cursor.fetchall()}


def matched(tenant: Tenant, expression: str, **changes: Any) -> Matched:
    return invalidate_matching(
        selection=Selection(tenant=tenant, matching=expression, **changes),
        author=Author("ann", Via.ADMIN),
        now=timezone.now(),
        reason="a name",
    )


def test_what_matches_ends_and_is_forgotten_and_nothing_else(acme: Tenant) -> None:
    stranger = TenantFactory.create()
    one, two, other = ask(acme, "Who is Jane Roe?", "What did JANE roe say?", "Who is John Doe?")
    strange = ask(stranger, "Who is Jane Roe?")
    elsewhere = ask(acme, "Jane Roe's phone number", model="large")
    found = matched(acme, r"(?i)\bjane\s+roe\b", model="small")
    (record,) = found.records
    assert (found.answers, found.unreadable) == (2, 0)
    assert (record.keys, record.matching, record.model) == (
        sorted([one, two]),
        r"(?i)\bjane\s+roe\b",
        "small",
    )
    assert (record.made_by, record.via, record.reason) == ("ann", "admin", "a name")
    assert str(record).endswith(r"matching (?i)\bjane\s+roe\b, 2 answers")
    assert kept() == {other, *strange, *elsewhere}


def test_a_search_without_findings_is_on_record_and_ends_nothing(acme: Tenant) -> None:
    names = ask(acme, "Who is Jane Roe?")
    (record,) = matched(acme, "nobody").records
    assert record.keys == []
    assert kept() == set(names)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM gateway_invalidations")
        assert cursor.fetchone() == (0,)


def test_gateways_see_the_keys(acme: Tenant) -> None:
    (name,) = ask(acme, "Who is Jane Roe?")
    (record,) = matched(acme, "Jane").records
    with connection.cursor() as cursor:
        cursor.execute("SELECT epoch, tenant_id, key, keys FROM gateway_invalidations")
        assert cursor.fetchall() == [(record.epoch, acme.pk, "", [name])]


def test_pages_and_records_have_their_size(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "PAGE_ENTRIES", 3)
    monkeypatch.setattr(invalidations, "MAX_KEYS", 4)
    names = ask(acme, *(f"question {number}" for number in range(9)), "another")
    pages: list[int] = []
    found = invalidate_matching(
        selection=Selection(tenant=acme, matching="^question"),
        author=Author("ann", Via.COMMAND),
        now=timezone.now(),
        on_page=pages.append,
    )
    assert pages == [3, 3, 3, 1]
    assert [len(record.keys) for record in found.records] == [4, 4, 1]
    assert kept() == {names[-1]}


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ({"matching": "(a"}, "no expression that RE2 takes"),
        ({"matching": r"(?=a)"}, "no expression that RE2 takes"),
        ({"matching": "a*"}, "matches the empty text"),
        ({"matching": "a" * 1001}, "at most 1000 characters"),
        ({"matching": "a", "tag": "t"}, "tenant and a model only"),
        ({"matching": "a", "key": f"k1:{'0a' * 32}"}, "tenant and a model only"),
        ({"matching": "a", "tenant": None}, "name the tenant as well"),
    ],
)
def test_what_is_no_expression_or_does_not_go_with_one_is_refused(
    acme: Tenant, stated: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UnfitSelection, match=problem) as refusal:
        invalidate(
            selection=Selection(**{"tenant": acme, **stated}),
            author=Author("ann", Via.ADMIN),
            now=timezone.now(),
        )
    assert refusal.value.field == "matching"
    assert not CacheInvalidation.objects.exists()


def test_a_model_that_is_not_there_is_refused(acme: Tenant) -> None:
    with pytest.raises(UnknownModel):
        matched(acme, "a", model="none")


def test_no_expression_takes_long(acme: Tenant) -> None:
    ask(acme, *(f"{'a' * 4000}{number}" for number in range(20)))
    started = time.monotonic()
    assert matched(acme, "(a+)+(a|aa)+$").answers == 0
    assert matched(acme, "(a|a?)+b").answers == 0
    assert time.monotonic() - started < 5


def test_the_database_holds_what_a_record_is(acme: Tenant) -> None:
    plain: dict[str, Any] = {"made_by": "x", "via": Via.API}
    for odd in (
        {"tenant": acme, "keys": ["k1:a"]},
        {"matching": "a", "keys": ["k1:a"]},
        {"tenant": acme, "matching": "a", "tag": "t"},
    ):
        with pytest.raises(DatabaseError, match="invalidation_matching"), transaction.atomic():
            CacheInvalidation.objects.create(**plain, **odd)


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("invalidate_cache", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_the_command_counts_first_and_then_ends(acme: Tenant) -> None:
    names = ask(acme, "Who is Jane Roe?", "Who is John Doe?", "Jane?")
    stated = ("--tenant", "acme", "--model", "small", "--matching", "Jane")
    assert command(*stated, "--dry-run") == "2 of 3 questions match; nothing was invalidated.\n"
    assert kept() == set(names)
    assert not CacheInvalidation.objects.exists()
    said = command(*stated, "--reason", "gdpr")
    record = CacheInvalidation.objects.get()
    assert said == (
        f"Invalidated: tenant Acme Ltd, model small, matching Jane, 2 answers (epoch {record.epoch}).\n"
    )
    assert (record.via, record.reason, kept()) == ("command", "gdpr", {names[1]})


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--tenant", "acme", "--dry-run"), "give an expression"),
        (("--matching", "a"), "name the tenant as well"),
        (("--tenant", "acme", "--matching", "("), "no expression"),
        (("--tenant", "acme", "--matching", "a", "--all"), "one or the other"),
    ],
)
def test_the_command_says_what_is_amiss(acme: Tenant, arguments: tuple[str, ...], problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        command(*arguments)


def test_sealed_questions_are_found_and_those_of_lost_keys_told(acme: Tenant, settings: Settings) -> None:
    old, new = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    settings.CACHE_ENCRYPTION_KEYS = f"new:{new}"
    ask(acme, "Who is Jane Roe?", keys=f"new:{new}")
    (lost,) = ask(acme, "Jane, by the old key", keys=f"old:{old}")
    (plain,) = ask(acme, "Jane, unsealed")
    said = command("--tenant", "acme", "--matching", "Jane")
    assert "2 questions could not be read" in said
    assert "1 answers" in said
    assert kept() == {lost, plain}


def test_a_tenants_key_ends_its_own_by_the_api(acme: Tenant) -> None:
    stranger = TenantFactory.create()
    (name,) = ask(acme, "Who is Jane Roe?")
    strange = ask(stranger, "Who is Jane Roe?")
    client = caller(acme, Scope.CACHE_WRITE).client
    body = {"matching": "Jane", "reason": "gone"}
    answer = client.post(URL, body, content_type="application/json")
    assert answer.status_code == 201
    said = answer.json()
    assert (said["tenant"], said["matching"], said["answers"]) == ("acme", "Jane", 1)
    assert CacheInvalidation.objects.get().keys == [name]
    assert kept() == set(strange)
    refused = client.post(URL, {"matching": "("}, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (400, "unfit_selection")
    others = client.post(URL, {"matching": "a", "tenant": stranger.slug}, content_type="application/json")
    assert others.status_code == 404
    assert client.post(URL, {"model": "small"}, content_type="application/json").json()["answers"] is None


def test_a_tenant_looks_through_its_questions_some_times_a_minute(acme: Tenant) -> None:
    author, now = Author("bi", Via.API), timezone.now()
    stated = Selection(tenant=acme, matching="Jane")
    for _ in range(invalidations.MAX_MATCHING_PER_MINUTE):
        invalidate(selection=stated, author=author, now=now)
    with pytest.raises(TooManyInvalidations, match="join them"):
        invalidate(selection=stated, author=author, now=now)
    invalidate(selection=Selection(tenant=acme, model="small"), author=author, now=now)
    invalidate(selection=stated, author=author, now=now + timedelta(minutes=2))


def test_too_many_questions_are_left_to_the_command(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidations, "MAX_ENTRIES_AT_ONCE", 1)
    ask(acme, "Who is Jane Roe?", "Jane?")
    with pytest.raises(UnfitSelection, match="look through 2 questions"):
        invalidate(
            selection=Selection(tenant=acme, matching="Jane"),
            author=Author("ann", Via.ADMIN),
            now=timezone.now(),
        )
    assert "2 answers" in command("--tenant", "acme", "--matching", "Jane")


def test_the_admin_has_it_too(acme: Tenant, admin_client: Client) -> None:
    add = reverse("admin:cacheproxy_cacheinvalidation_add")
    ask(acme, "Who is Jane Roe?")
    refused = admin_client.post(add, {"tenant": acme.pk, "matching": "("})
    assert "no expression that RE2 takes" in refused.content.decode()
    done = admin_client.post(add, {"tenant": acme.pk, "matching": "Jane"}, follow=True)
    assert "matching Jane, 1 answers" in done.content.decode()
    assert (kept(), CacheInvalidation.objects.get().via) == (set(), "admin")
