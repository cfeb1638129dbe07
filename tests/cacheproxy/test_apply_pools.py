"""Pools in the catalog file: who joins and leaves is told and on record, mistakes by line."""

import getpass

import pytest
from django.core.management import CommandError

from cacheproxy.models import CacheInvalidation, CachePool, PoolMembership
from tests.cacheproxy.test_apply import CATALOG, Run, run

__all__ = ["run"]
pytestmark = pytest.mark.django_db

AGREED = 'pools: [{pool: public, agreed_by: "Ann Lee, 2026-11-20"}]'
POOLED = (
    CATALOG.replace("models:", "pools:\n  - {name: public, pad_hits: true}\nmodels:")
    .replace("scope: tenant, semantic: {threshold: 0.92}", "scope: pool, pool: public")
    .replace("plan: standard}", f"plan: standard,\n     {AGREED}}}")
)


def test_pools_are_made_and_joined_once(run: Run) -> None:
    lines = run(POOLED)
    assert "+ pool public (pad_hits True)" in lines
    assert "+ tenant acme: in pool public, agreed by Ann Lee, 2026-11-20" in lines
    assert run(POOLED) == ["Nothing to change."]
    stay = PoolMembership.objects.get()
    assert (stay.tenant.slug, stay.joined_by, stay.joined_via) == ("acme", getpass.getuser(), "command")
    assert run(POOLED.replace(", pad_hits: true", "")) == [
        "~ pool public: pad_hits True → False",
        "1 changed.",
    ]


def test_a_dry_run_tells_the_same_and_lets_nobody_in(run: Run) -> None:
    dry = run(POOLED, dry_run=True)
    assert not CachePool.objects.exists()
    assert dry[:-1] == run(POOLED)[:-1]


def test_a_tenants_list_is_whole_and_no_list_changes_nothing(run: Run) -> None:
    run(POOLED)
    secret = bytes(CachePool.objects.get().secret)
    assert run(POOLED.replace(f",\n     {AGREED}", "")) == ["Nothing to change."]
    assert run(POOLED.replace(AGREED, "pools: []")) == ["- tenant acme: left pool public", "1 changed."]
    assert PoolMembership.objects.get().left_by == getpass.getuser()
    assert CacheInvalidation.objects.get().reason == "Acme Ltd left the pool"
    assert bytes(CachePool.objects.get().secret) != secret


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("{pool: public,", "{pool: private,", "line 20: tenants acme: pools: there is no pool 'private'"),
        (', agreed_by: "Ann Lee, 2026-11-20"', "", "line 20: tenants[0].pools[0]: "),
        ('"Ann Lee, 2026-11-20"', '""', "line 20: tenants[0].pools[0].agreed_by"),
        ("{pool: public,", "{pol: public,", "line 20: tenants[0].pools[0].pol: unknown field"),
        (AGREED, AGREED.replace("[", "[{pool: public, agreed_by: Bob}, "), "line 20: pools: public is given twice"),
        (AGREED, "pools: public", "line 20: tenants[0].pools: must be a list"),
        ("{name: public,", "{name: Public,", "line 5: pools[0].name"),
        ("pool: public}", "pool: private}", "line 7: models qwen-small: cache.pool: there is no pool 'private'"),
        (", pool: public}", "}", "line 7: models qwen-small: cache.pool: scope: pool and the pool's name go together"),
        ("scope: pool, pool: public", "pool: public", "cache.pool: scope: pool and the pool's name"),
        ("pool: public}", "pool: public, semantic: {}}", "cache.semantic: tenants of a pool share exact hits only"),
    ],
)  # fmt: skip
def test_mistakes_are_named(run: Run, right: str, wrong: str, message: str) -> None:
    with pytest.raises(CommandError) as refusal:
        run(POOLED.replace(right, wrong, 1))
    assert message in str(refusal.value)
    assert not PoolMembership.objects.exists()


def test_a_task_leaves_the_pool_by_saying_so(run: Run) -> None:
    private = (
        "tasks: [{name: chat, when: {path: /metadata, exists: true}, policy: {scope: tenant, pool: null}}]"
    )
    run(POOLED.replace("pool: public}", f"pool: public, {private}}}", 1))
