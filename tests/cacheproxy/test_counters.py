"""Counters of budgets, held against PostgreSQL: after a loss, after a crash, and while calls go on."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connection

from billing.models import Budget, BudgetAlert
from cacheproxy.counters import mend_counters, rebuild_counter
from cacheproxy.gateway.limits import rules
from cacheproxy.gateway.limits.grants import Grant
from cacheproxy.gateway.recording.spool import STREAM
from metering.services.rollups import roll_up
from metering.tokens import TokenPools
from tenants.models import Tenant
from tests.cacheproxy.gateway.limits.party import NANO, Party, linked
from tests.factories.billing import PlanFactory, PriceFactory, SubscriptionFactory
from tests.factories.tenants import ApiKeyFactory
from tests.factories.usage import use

EACH = Decimal("0.0012")
"""What the calls below cost: 1,000 tokens in at a dollar a million, 100 out at two."""


@pytest.fixture
def tenant(live_db: str) -> Tenant:
    plan = PlanFactory.create()
    for pool, amount in (("input", "1"), ("output", "2")):
        PriceFactory.create(plan=plan, model="qwen", pool=pool, amount=Decimal(amount))
    return SubscriptionFactory.create(plan=plan).tenant


@pytest.fixture
def budget(tenant: Tenant) -> Budget:
    return Budget.objects.create(tenant=tenant, hard_amount=Decimal(1))


@pytest.fixture
def counters(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def now() -> datetime:
    return datetime.now(UTC)


def key_of(budget: Budget) -> bytes:
    return rules.budget_key(budget.tenant_id, budget.pk, rules.period_start(budget.period, now()))


def spent(counters: Any, budget: Budget) -> Decimal:
    return int(counters.hget(key_of(budget), "spent") or 0) / Decimal(NANO)


class Gateway:
    """A gateway whose calls end in events: it takes, records as the gateway does, and settles."""

    def __init__(self, redis_url: str, budget: Budget) -> None:
        self.redis_url = redis_url
        self.tenant_id = budget.tenant_id
        self.party = Party(
            tenant_id=budget.tenant_id,
            budgets=(rules.Budget(id=budget.pk, period="month", hard_nano=NANO),),
        )

    def run(self, *steps: str) -> list[str]:
        """Take a call through the steps, or on from where it was left; return the id of its event."""
        return asyncio.run(self._run(steps))

    async def _run(self, steps: tuple[str, ...]) -> list[str]:
        ids = []
        async with linked(self.redis_url) as link:
            limits = self.party.limits(link)
            for step in steps:
                ask = self.party.ask()
                grant: Grant = await limits.admit(ask)
                if step != "fail":
                    event_id = ask.call.event_id
                    await asyncio.to_thread(self._record, event_id)
                    ids.append(event_id.hex)
                if step == "settle":
                    grant.settle(TokenPools(input=1_000, output=100), EACH)
                elif step == "fail":
                    grant.release()
            await limits.stop()
        return ids

    def _record(self, event_id: Any) -> None:
        use(self.tenant_id, event_id=event_id, request_id=event_id, occurred_at=now())
        connection.close()


def test_a_rebuild_after_a_flush_gives_the_same_counters(
    redis_url: str, counters: Any, budget: Budget
) -> None:
    Gateway(redis_url, budget).run("settle", "fail", "settle", "settle")
    before = counters.hmget(key_of(budget), "spent", "reserved")
    assert before == [b"3600000", b"0"]
    counters.flushdb()
    out = StringIO()
    call_command("rebuild_counters", stdout=out, stderr=StringIO())
    assert counters.hmget(key_of(budget), "spent", "reserved") == before
    assert out.getvalue().splitlines()[0].endswith("0 → 0.0036")
    again = StringIO()
    call_command("rebuild_counters", "--tenant", budget.tenant.slug, stdout=again, stderr=StringIO())
    assert again.getvalue() == "1 counters are as PostgreSQL says.\n"


def test_a_gateway_that_died_before_it_settled_is_made_good(
    redis_url: str, counters: Any, budget: Budget
) -> None:
    Gateway(redis_url, budget).run("settle", "die")
    assert spent(counters, budget) == EACH
    rebuild_counter(budget=budget, now=now(), counters=counters)
    assert spent(counters, budget) == 2 * EACH
    assert counters.hget(key_of(budget), "reserved") == b"0"  # what it had reserved was charged


def test_a_settlement_that_comes_after_the_rebuild_adds_nothing(
    redis_url: str, counters: Any, budget: Budget
) -> None:
    async def settle_late() -> None:
        gateway = Gateway(redis_url, budget)
        async with linked(redis_url) as link:
            limits = gateway.party.limits(link)
            seen, unseen = gateway.party.ask(), gateway.party.ask()
            grants = [await limits.admit(ask) for ask in (seen, unseen)]
            await asyncio.to_thread(gateway._record, seen.call.event_id)
            await asyncio.to_thread(rebuild)
            for grant in grants:  # the second one's event was committed after the snapshot
                grant.settle(TokenPools(input=1_000, output=100), EACH)
            await limits.stop()

    def rebuild() -> None:
        rebuild_counter(budget=budget, now=now(), counters=counters)
        connection.close()

    asyncio.run(settle_late())
    assert spent(counters, budget) == 2 * EACH


def test_what_was_settled_after_the_snapshot_counts_on_top(
    redis_url: str, counters: Any, budget: Budget
) -> None:
    async def unseen() -> None:
        gateway = Gateway(redis_url, budget)
        async with linked(redis_url) as link:
            limits = gateway.party.limits(link)
            grant = await limits.admit(gateway.party.ask())
            grant.settle(TokenPools(), EACH)  # its event is not there yet, as far as the snapshot sees
            await limits.stop()

    Gateway(redis_url, budget).run("settle")
    asyncio.run(unseen())
    rebuilt = rebuild_counter(budget=budget, now=now(), counters=counters)
    assert rebuilt.before == rebuilt.after == 2 * EACH


def test_each_call_is_rounded_up_as_gateways_do(counters: Any, budget: Budget, tenant: Tenant) -> None:
    plan = tenant.subscriptions.get().plan
    PriceFactory.create(plan=plan, model="tiny", pool="input", amount=Decimal("0.0001"))
    for _ in range(3):
        use(tenant.pk, model="tiny", input=1, output=0, occurred_at=now())
    rebuild_counter(budget=budget, now=now(), counters=counters)
    assert counters.hget(key_of(budget), "spent") == b"3"


def test_a_keys_budget_counts_that_key_alone_and_only_its_period(
    redis_url: str, counters: Any, tenant: Tenant
) -> None:
    key = ApiKeyFactory.create(tenant=tenant)
    budget = Budget.objects.create(tenant=tenant, api_key=key, hard_amount=Decimal(1), period="day")
    use(tenant.pk, api_key_id=key.pk, occurred_at=now())
    use(tenant.pk, occurred_at=now())
    use(tenant.pk, api_key_id=key.pk, occurred_at=now() - timedelta(days=1))
    use(tenant.pk, api_key_id=key.pk, quality="suspect", occurred_at=now())
    use(tenant.pk, api_key_id=key.pk, outcome="exact", occurred_at=now())
    rebuild_counter(budget=budget, now=now(), counters=counters)
    assert spent(counters, budget) == EACH


def test_while_events_wait_in_the_spool_nothing_is_rebuilt(counters: Any, budget: Budget) -> None:
    counters.xadd(STREAM, {"event": "…"})
    with pytest.raises(CommandError, match="Events wait in the spool"):
        call_command("rebuild_counters", stderr=StringIO())
    assert mend_counters(now=now(), counters=counters) == 0


def test_an_unknown_tenant_is_said_so(budget: Budget) -> None:
    with pytest.raises(CommandError, match="There is no tenant 'nobody'"):
        call_command("rebuild_counters", "--tenant", "nobody")


def test_the_sweep_mends_what_fell_behind_and_leaves_the_rest(
    redis_url: str, counters: Any, budget: Budget, tenant: Tenant
) -> None:
    Gateway(redis_url, budget).run("settle", "die")
    roll_up(now=now())
    assert mend_counters(now=now(), counters=counters) == 1
    assert spent(counters, budget) == 2 * EACH
    assert mend_counters(now=now(), counters=counters) == 0
    assert not BudgetAlert.objects.exists()


def test_a_refused_call_raises_the_hard_alert(redis_url: str, counters: Any, budget: Budget) -> None:
    gateway = Gateway(redis_url, budget)
    gateway.party = Party(
        tenant_id=budget.tenant_id, budgets=(rules.Budget(id=budget.pk, period="month", hard_nano=1),)
    )
    with pytest.raises(Exception, match="budget of this month"):
        gateway.run("settle")
    for _ in range(2):
        mend_counters(now=now(), counters=counters)
    assert BudgetAlert.objects.get().level == "hard"
