"""The budgets' counters in Redis, held against PostgreSQL, which has the truth.

A counter goes wrong when Redis loses its data, or when a gateway dies between an event's commit and its
settlement. It is rebuilt under traffic: PostgreSQL is read in one snapshot, and the counter then takes its sum
in one step of Redis, which also knows which calls that sum holds already. A call that is recorded is settled
within a lease, and its settlement is remembered for another; so of the settlements that Redis remembers those
count on top that the snapshot did not see, and of the calls that were recorded lately each is marked as settled,
so that its own settlement, if it is still to come, adds nothing. Two gateways or two rebuilds at once change
nothing of this, and a second rebuild nothing at all.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisError

from billing.models import Budget, BudgetAlert
from billing.money import billionths
from billing.selectors.spend import spent, spent_by_call, whose_budget
from billing.services.budgets import raise_alert
from cacheproxy.errors import EventsWait
from cacheproxy.gateway.limits.rules import budget_key, counter_expiry
from cacheproxy.gateway.recording.spool import STREAM
from cacheproxy.redis_connection import RedisAway
from cacheproxy.redis_places import OneServer, StartNodes, places_at
from metering.snapshot import snapshot
from metering.usage_by_call import events_recorded_after

logger = logging.getLogger(__name__)

NANO = Decimal(10**9)
_PATIENCE = {"socket_timeout": 5, "socket_connect_timeout": 5}

_REBUILD = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local recorded = {}
for _, id in ipairs(cjson.decode(ARGV[4])) do recorded[id] = true end
local before = redis.call('HGET', KEYS[1], 'spent') or '0'
local since, reserved = 0, 0
local kept = redis.call('HGETALL', KEYS[1])
for i = 1, #kept, 2 do
  local state, amount = string.match(kept[i + 1], '^([rd])(%d+)$')
  if state and not recorded[kept[i]] then
    if state == 'd' then since = since + amount else reserved = reserved + amount end
  end
end
redis.call('HSET', KEYS[1], 'spent', ARGV[1], 'reserved', reserved)
redis.call('HINCRBY', KEYS[1], 'spent', since)
for id in pairs(recorded) do
  redis.call('HSET', KEYS[1], id, 'd0')
  redis.call('ZADD', KEYS[2], now + ARGV[2], id)
end
redis.call('EXPIREAT', KEYS[1], ARGV[3])
redis.call('EXPIREAT', KEYS[2], ARGV[3])
return {before, redis.call('HGET', KEYS[1], 'spent')}
"""


class Rebuilt(NamedTuple):
    """What a counter said, and what it says now, in the budget's currency."""

    before: Decimal
    after: Decimal


def open_counters(url: str) -> Any:
    """Return a client of the counters' Redis, wherever `redis_places` says that *url* is now.

    Raises:
        RedisError: no sentinel knows the master, or no node of the cluster answers.
    """
    places = places_at(url)
    if isinstance(places, OneServer):
        return Redis.from_url(url, **_PATIENCE)
    try:
        found = asyncio.run(places.find())
    except RedisAway as problem:
        raise RedisError(str(problem)) from problem
    return (RedisCluster if isinstance(places, StartNodes) else Redis).from_url(found, **_PATIENCE)


def rebuild_counter(
    *,
    budget: Budget,
    now: datetime,
    counters: Any,
    on_day: Callable[[int], object] = lambda _days: None,
) -> Rebuilt:
    """Set the counter of the budget's running period to what its events cost. Idempotent, and safe under traffic.

    Reads every event of the period, in a snapshot of its own; `on_day` is told of each day.

    Raises:
        EventsWait: events are in the spool that PostgreSQL does not have yet.
        RedisError: Redis does not answer.
    """
    if counters.xlen(STREAM):
        raise EventsWait(
            "Events wait in the spool to be recorded; their cost is not known yet. Try again soon."
        )
    period = budget.period_at(now)
    lease = timedelta(seconds=settings.LIMIT_LEASE_SECONDS)
    with snapshot() as moment:
        total = spent_by_call(budget=budget, period=period, now=moment, on_day=on_day)
        recorded = events_recorded_after(
            whose=whose_budget(budget), period=period, instant=moment - 3 * lease - timedelta(minutes=1)
        )
    key = budget_key(budget.tenant_id, budget.pk, period.start)
    before, after = counters.eval(
        _REBUILD, 2, key, key + b":x",
        total, int(lease.total_seconds() * 1000), counter_expiry(budget.period, period.start), json.dumps(recorded),
    )  # fmt: skip
    return Rebuilt(int(before) / NANO, int(after) / NANO)


def mend_counters(*, now: datetime, counters: Any) -> int:
    """Rebuild the counters that fell behind PostgreSQL, and return how many; raise the alerts of refused calls.

    A counter is never behind what is rolled up unless it lost something. A budget that refused calls has been
    reached, even where the last of it is too little to be spent.
    """
    mended = 0
    for budget in Budget.objects.exclude(hard_amount=None).select_related("tenant", "api_key"):
        period = budget.period_at(now)
        amount = spent(budget=budget, period=period)
        key = budget_key(budget.tenant_id, budget.pk, period.start)
        counted, refused = counters.hmget(key, "spent", "refused")
        if int(counted or 0) < billionths(amount):
            try:
                rebuilt = rebuild_counter(budget=budget, now=now, counters=counters)
            except EventsWait:
                continue
            logger.warning("budget_counter_mended budget=%s %s → %s", budget.pk, *rebuilt)
            mended += 1
        if refused:
            raise_alert(budget=budget, level=BudgetAlert.Level.HARD, spent_amount=amount, now=now)
    return mended
