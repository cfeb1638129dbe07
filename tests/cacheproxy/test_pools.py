"""Pools: who is in one is on record for good, and who leaves takes the pool's secret along."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from cacheproxy.errors import NotAMember, UnfitSelection
from cacheproxy.invalidations import Author, Selection, invalidate, invalidate_matching
from cacheproxy.models import CacheInvalidation, CachePool, PoolMembership, ServedModel
from cacheproxy.pools import join_pool, leave_pool, rotate_secret
from tenants.models import Tenant
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db
STAFF = Author("ann", CacheInvalidation.Via.ADMIN)


@pytest.fixture
def pool() -> CachePool:
    return CachePool.objects.create(name="public")


@pytest.fixture
def acme() -> Tenant:
    return TenantFactory.create(slug="acme", name="Acme Ltd")


def join(pool: CachePool, tenant: Tenant) -> PoolMembership | None:
    return join_pool(pool=pool, tenant=tenant, agreed_by="Bob of Acme", author=STAFF, now=timezone.now())


def secret_of(pool: CachePool) -> bytes:
    return bytes(CachePool.objects.get(pk=pool.pk).secret)


def test_a_membership_says_who_agreed_who_entered_it_and_when(pool: CachePool, acme: Tenant) -> None:
    now = timezone.now()
    stay = join_pool(pool=pool, tenant=acme, agreed_by="Bob of Acme", author=STAFF, now=now)
    assert stay is not None
    assert (stay.agreed_by, stay.joined_by, stay.joined_via, stay.joined_at) == (
        "Bob of Acme", "ann", "admin", now,
    )  # fmt: skip
    assert join(pool, acme) is None
    assert PoolMembership.objects.count() == 1
    assert not CacheInvalidation.objects.exists()


def test_who_leaves_ends_what_the_pool_has_and_may_come_back(pool: CachePool, acme: Tenant) -> None:
    join(pool, acme)
    before, now = secret_of(pool), timezone.now()
    leave_pool(pool=pool, tenant=acme, author=STAFF, now=now)
    stay = PoolMembership.objects.get()
    assert (stay.left_by, stay.left_via, stay.left_at) == ("ann", "admin", now)
    assert secret_of(pool) != before
    ended = CacheInvalidation.objects.get()
    assert (ended.pool, ended.tenant, ended.reason) == (pool, None, "Acme Ltd left the pool")
    with pytest.raises(NotAMember):
        leave_pool(pool=pool, tenant=acme, author=STAFF, now=now)
    assert join(pool, acme) is not None
    assert PoolMembership.objects.count() == 2


def test_a_secret_is_random_and_rotates_on_record(pool: CachePool) -> None:
    other = CachePool.objects.create(name="other")
    secrets = {secret_of(pool), secret_of(other)}
    rotate_secret(pool=pool, author=STAFF, now=timezone.now(), reason="once a year")
    assert len(secrets | {secret_of(pool)}) == 3
    assert {len(secret) for secret in secrets} == {32}
    assert CacheInvalidation.objects.get().reason == "once a year"


def test_the_command_rotates_and_names_what_it_does_not_know(pool: CachePool) -> None:
    before = secret_of(pool)
    call_command("rotate_pool_secret", "public", verbosity=0)
    assert secret_of(pool) != before
    with pytest.raises(CommandError, match="There is no pool “private”"):
        call_command("rotate_pool_secret", "private")


@pytest.mark.parametrize(
    "change",
    [{"tenant": None}, {"agreed_by": "Eve"}, {"joined_at": timezone.now() - timedelta(days=9)}],
    ids=["tenant", "agreed_by", "joined_at"],
)
def test_what_is_on_record_stays(pool: CachePool, acme: Tenant, change: dict[str, object]) -> None:
    join(pool, acme)
    if "tenant" in change:
        change = {"tenant": TenantFactory.create()}
    with pytest.raises(IntegrityError, match="stay on record"), transaction.atomic():
        PoolMembership.objects.update(**change)
    with pytest.raises(IntegrityError, match="stay on record"), transaction.atomic():
        PoolMembership.objects.all().delete()
    leave_pool(pool=pool, tenant=acme, author=STAFF, now=timezone.now())
    with pytest.raises(IntegrityError, match="stay on record"), transaction.atomic():
        PoolMembership.objects.update(left_at=None, left_by="", left_via="")


def test_nobody_is_in_a_pool_without_a_word_of_its_own(pool: CachePool, acme: Tenant) -> None:
    with pytest.raises(IntegrityError, match="pool_membership_agreed"):
        join_pool(pool=pool, tenant=acme, agreed_by="", author=STAFF, now=timezone.now())


def test_what_a_member_ends_ends_in_its_pools(pool: CachePool, acme: Tenant) -> None:
    ServedModel.objects.create(name="small")
    former = CachePool.objects.create(name="former")
    for each in (pool, former):
        join(each, acme)
    leave_pool(pool=former, tenant=acme, author=STAFF, now=timezone.now())
    epoch = CacheInvalidation.objects.latest("epoch").epoch
    selection = Selection(tenant=acme, model="small", version="1", tag="doc")
    invalidate(selection=selection, author=STAFF, now=timezone.now(), reason="wrong")
    own, pools = CacheInvalidation.objects.filter(epoch__gt=epoch).order_by("epoch")
    assert (own.tenant, own.pool) == (acme, None)
    assert (pools.tenant, pools.pool, pools.model, pools.version, pools.tag) == (
        None,
        pool,
        "small",
        "1",
        "doc",
    )
    assert (pools.made_by, pools.reason, pools.made_at) == (own.made_by, "wrong", own.made_at)
    assert str(pools) == "pool public, model small, version 1, tag doc"


def test_a_session_is_no_part_of_a_pool(pool: CachePool, acme: Tenant) -> None:
    join(pool, acme)
    invalidate(selection=Selection(tenant=acme, session="s"), author=STAFF, now=timezone.now())
    assert CacheInvalidation.objects.get().pool is None


def test_staff_end_a_pools_answers(pool: CachePool, acme: Tenant) -> None:
    call_command("invalidate_cache", "--pool", "public", verbosity=0)
    assert CacheInvalidation.objects.get().pool == pool
    with pytest.raises(UnfitSelection, match="name one or the other"):
        invalidate(selection=Selection(tenant=acme, pool=pool), author=STAFF, now=timezone.now())


def test_what_questions_match_is_no_part_of_a_pool(pool: CachePool, acme: Tenant) -> None:
    join(pool, acme)
    selection = Selection(tenant=acme, matching="price")
    invalidate_matching(selection=selection, author=STAFF, now=timezone.now())
    assert [row.tenant for row in CacheInvalidation.objects.all()] == [acme]
