"""Pools of tenants who share answers: who is in one, since when and on whose word, and what keys its answers.

A tenant is in a pool by its own opt-in and nothing else. Whoever leaves takes its answers along: the pool gets
another secret, so that nothing kept before can be found by anybody, and no call that is still under way with the old
one leaves anything behind for those who stay.
"""

from datetime import datetime

from django.db import transaction

from cacheproxy.errors import NotAMember, UnknownPool
from cacheproxy.invalidations import Author, Selection, invalidate
from cacheproxy.models import CachePool, PoolMembership
from cacheproxy.policy import CachePolicy
from tenants.models import Tenant, new_cache_secret


@transaction.atomic
def join_pool(
    *, pool: CachePool, tenant: Tenant, agreed_by: str, author: Author, now: datetime
) -> PoolMembership | None:
    """Let *tenant* share answers with the members of *pool*, and return the record; None where it does already.

    *agreed_by* says who agreed for the tenant. Gateways know within a second. Locks the pool.
    """
    _lock(pool)
    membership, is_new = PoolMembership.objects.get_or_create(
        pool=pool,
        tenant=tenant,
        left_at=None,
        defaults={
            "agreed_by": agreed_by,
            "joined_at": now,
            "joined_by": author.name,
            "joined_via": author.via,
        },
    )
    return membership if is_new else None


@transaction.atomic
def leave_pool(*, pool: CachePool, tenant: Tenant, author: Author, now: datetime) -> None:
    """End *tenant*'s membership: within a second it neither gives nor gets, and what it gave is gone. Locks the pool.

    Raises:
        NotAMember: it is not in the pool.
    """
    _lock(pool)
    left = PoolMembership.objects.filter(pool=pool, tenant=tenant, left_at=None).update(
        left_at=now, left_by=author.name, left_via=author.via
    )
    if not left:
        raise NotAMember(f"{tenant} is not in {pool}.")
    rotate_secret(pool=pool, author=author, now=now, reason=f"{tenant} left the pool")


@transaction.atomic
def rotate_secret(*, pool: CachePool, author: Author, now: datetime, reason: str) -> None:
    """Key the pool's answers by a new secret: nothing kept before is found again. On record as an invalidation."""
    CachePool.objects.filter(pk=pool.pk).update(secret=new_cache_secret())
    invalidate(selection=Selection(pool=pool), author=author, now=now, reason=reason)


def pool_named(name: str) -> CachePool:
    """Return the pool named *name*.

    Raises:
        UnknownPool: there is none.
    """
    try:
        return CachePool.objects.get(name=name)
    except CachePool.DoesNotExist:
        raise UnknownPool(f"There is no pool “{name}”.") from None


def unknown_pools(policy: CachePolicy) -> list[str]:
    """Return the pools that *policy* names and that do not exist."""
    known = CachePool.objects.filter(name__in=policy.pools).values_list("name", flat=True)
    return sorted(policy.pools - set(known))


def _lock(pool: CachePool) -> None:
    CachePool.objects.select_for_update().get(pk=pool.pk)
