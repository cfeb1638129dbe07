"""What a call is let in for and refused for, with a real Redis."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import redis

from cacheproxy.gateway.errors import GatewayError
from cacheproxy.gateway.limits.errors import BudgetExceeded, MaxTokensExceeded, RateLimited, TooManyConcurrent
from cacheproxy.gateway.limits.grants import NO_GRANT, Grant
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.limits.rules import KeyLimits, PlanLimits
from cacheproxy.redis_link import RedisLink
from metering.tokens import TokenPools
from tests.cacheproxy.gateway.limits.party import COST, NANO, USED, Party, budget, settled


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def decided_by_redis(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See to it that Redis decided, and not this process alone."""
    yield
    assert "alone" not in caplog.text


async def admitted(limits: Limits, party: Party, count: int) -> tuple[list[Grant], list[GatewayError]]:
    """Ask for so many calls in one turn; return the grants, and the refusals."""
    outcomes = await asyncio.gather(
        *(limits.admit(party.ask()) for _ in range(count)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, GatewayError)]
    return [outcome for outcome in outcomes if isinstance(outcome, Grant)], refused


async def test_whoever_is_not_limited_waits_for_nothing(link: RedisLink, server: Any) -> None:
    party = Party()
    limits = party.limits(link)
    assert await limits.admit(party.ask()) is NO_GRANT
    assert await limits.admit_hit(party.ask(), USED, COST) is NO_GRANT
    assert limits.headers(party.ask()) == []
    assert server.keys() == []


@pytest.mark.parametrize(
    "party",
    [Party(plan=PlanLimits(requests_per_minute=3)), Party(key=KeyLimits(requests_per_minute=3))],
    ids=["plan", "key"],
)
async def test_requests_per_minute(link: RedisLink, party: Party) -> None:
    limits = party.limits(link)
    grants, refused = await admitted(limits, party, 5)
    assert (len(grants), len(refused)) == (3, 2)
    error = refused[0]
    assert isinstance(error, RateLimited)
    assert (error.status, error.code, error.retryable, error.retry_after_seconds) == (
        429,
        "rate_limit_exceeded",
        True,
        20,
    )
    headers = dict(error.headers)
    assert 19_000 < int(headers[b"retry-after-ms"]) <= 20_000
    assert headers[b"x-ratelimit-limit-requests"] == b"3"
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers[b"x-ratelimit-reset-requests"] == b"1m0s"


async def test_a_released_call_was_never_counted_and_a_settled_one_is(link: RedisLink) -> None:
    party = Party(plan=PlanLimits(requests_per_minute=1))
    limits = party.limits(link)
    for _ in range(3):
        (await limits.admit(party.ask())).release()
    (await limits.admit(party.ask())).settle(TokenPools(), Decimal(0))
    with pytest.raises(RateLimited):
        await limits.admit(party.ask())


async def test_tokens_are_estimated_first_and_counted_after(link: RedisLink) -> None:
    party = Party(plan=PlanLimits(tokens_per_minute=100))
    limits = party.limits(link)
    grants, refused = await admitted(limits, party, 4)  # 40 bytes are 10 tokens, and 20 are asked for
    assert (len(grants), len(refused)) == (3, 1)
    headers = dict(limits.headers(party.ask()))
    assert headers[b"x-ratelimit-limit-tokens"] == b"100"
    assert headers[b"x-ratelimit-remaining-tokens"] == b"10"
    for grant in grants:
        grant.settle(TokenPools(input=10, output=1), COST)
    await admitted(limits, party, 0)
    grant = await limits.admit(party.ask())
    remaining = int(dict(limits.headers(party.ask()))[b"x-ratelimit-remaining-tokens"])
    assert 36 <= remaining <= 45  # 100 − 33 − 30, and what has drained since
    grant.settle(TokenPools(input=500), COST)
    with pytest.raises(RateLimited) as refusal:
        await limits.admit(party.ask())
    assert refusal.value.retry_after_seconds is not None
    assert refusal.value.retry_after_seconds > 200  # the debt is drained first


async def test_a_call_too_large_for_its_limit_is_not_to_be_repeated(link: RedisLink) -> None:
    party = Party(plan=PlanLimits(tokens_per_minute=100))
    with pytest.raises(RateLimited, match="This call alone may take 101 tokens") as refusal:
        await party.limits(link).admit(party.ask(output=91))
    assert (refusal.value.retryable, refusal.value.retry_after_seconds) == (False, None)


async def test_a_guess_alone_makes_no_call_too_large(link: RedisLink) -> None:
    party = Party(plan=PlanLimits(tokens_per_minute=100))
    limits = party.limits(link)
    await limits.admit(party.ask(output=None))
    assert dict(limits.headers(party.ask()))[b"x-ratelimit-remaining-tokens"] == b"0"


async def test_calls_at_once(link: RedisLink) -> None:
    party = Party(key=KeyLimits(concurrent_requests=2))
    limits = party.limits(link)
    grants, refused = await admitted(limits, party, 3)
    assert isinstance(refused[0], TooManyConcurrent)
    assert (refused[0].status, refused[0].retryable, refused[0].retry_after_seconds) == (429, True, 1)
    grants[0].settle(USED, COST)
    grants[1].release()
    assert len((await admitted(limits, party, 3))[0]) == 2


async def test_plan_and_key_both_hold_and_a_refusal_takes_nothing(link: RedisLink, server: Any) -> None:
    party = Party(
        plan=PlanLimits(requests_per_minute=10, concurrent_requests=5),
        key=KeyLimits(concurrent_requests=1),
        budgets=(budget("1"),),
    )
    limits = party.limits(link)
    await admitted(limits, party, 4)
    assert server.zcard("zerorate:{t1}:slots") == 1
    level = int(server.get("zerorate:{t1}:requests").split()[0])
    assert level == 60_000
    assert int(server.hget(party.counter(budget("1")), "reserved")) == 50_000  # one call's


async def test_more_output_than_allowed(link: RedisLink) -> None:
    party = Party(plan=PlanLimits(max_output_tokens=50), key=KeyLimits(max_output_tokens=30))
    limits = party.limits(link)
    with pytest.raises(MaxTokensExceeded, match="31 tokens of output are asked for; 30"):
        await limits.admit(party.ask(output=31))
    await limits.admit(party.ask(output=30))
    await limits.admit(party.ask(output=None))


async def test_a_budget_is_reserved_then_charged(link: RedisLink, server: Any) -> None:
    limit = budget("0.0002")  # four calls of 0.00005 at most
    party = Party(budgets=(limit,))
    limits = party.limits(link)
    grants, refused = await admitted(limits, party, 6)
    assert (len(grants), len(refused)) == (4, 2)
    assert isinstance(refused[0], BudgetExceeded)
    assert (refused[0].status, refused[0].code, refused[0].retryable) == (402, "budget_exceeded", False)
    grants[0].settle(USED, COST)
    grants[1].settle(TokenPools(input=10), Decimal("0.00001"))
    grants[2].release()
    grants[3].settle(TokenPools(), Decimal(0))
    await settled(limits)
    counter = server.hgetall(party.counter(limit))
    assert (counter[b"spent"], counter[b"reserved"]) == (b"60000", b"0")
    assert len((await admitted(limits, party, 6))[0]) == 2


async def test_a_charge_is_rounded_up(link: RedisLink, server: Any) -> None:
    limit = budget("1")
    party = Party(budgets=(limit,))
    limits = party.limits(link)
    (await limits.admit(party.ask())).settle(USED, Decimal("0.0000000001"))
    await settled(limits)
    assert server.hget(party.counter(limit), "spent") == b"1"


async def test_a_grant_ends_once(link: RedisLink, server: Any) -> None:
    limit = budget("1")
    party = Party(budgets=(limit,))
    limits = party.limits(link)
    grant = await limits.admit(party.ask())
    grant.settle(USED, COST)
    grant.settle(USED, COST)
    grant.release()
    await settled(limits)
    assert server.hget(party.counter(limit), "spent") == b"50000"


async def test_hits_count_where_the_plan_says_so(link: RedisLink) -> None:
    party = Party(plan=PlanLimits(requests_per_minute=2, concurrent_requests=1, count_hits=True))
    limits = party.limits(link)
    await limits.admit(party.ask())
    (await limits.admit_hit(party.ask(), USED, Decimal(0))).settle(USED, Decimal(0))  # takes no slot
    with pytest.raises(RateLimited):
        await limits.admit_hit(party.ask(), USED, Decimal(0))


async def test_hits_are_not_counted_by_default_but_what_they_cost_is(link: RedisLink, server: Any) -> None:
    limit = budget("0.00005")
    party = Party(plan=PlanLimits(requests_per_minute=1), budgets=(limit,))
    limits = party.limits(link)
    assert await limits.admit_hit(party.ask(), USED, Decimal(0)) is NO_GRANT
    (await limits.admit_hit(party.ask(), USED, COST)).settle(USED, COST)
    with pytest.raises(BudgetExceeded):
        await limits.admit_hit(party.ask(), USED, COST)
    assert await limits.admit_hit(party.ask(), USED, Decimal(0)) is NO_GRANT
    assert server.exists("zerorate:{t1}:requests") == 0


async def test_the_calls_of_one_turn_share_one_script_call(link: RedisLink, server: Any) -> None:
    ours, others = (
        Party(plan=PlanLimits(requests_per_minute=100)),
        Party(plan=PlanLimits(requests_per_minute=100), tenant_id=2, api_key_id=2),
    )
    limits = ours.limits(link)
    await limits.admit(ours.ask())  # teaches Redis the script
    server.config_resetstat()
    await asyncio.gather(*(limits.admit(party.ask()) for party in (ours, others) for _ in range(20)))
    calls = server.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert calls == 2  # one for each tenant


async def test_two_tenants_do_not_share_a_limit(link: RedisLink) -> None:
    ours, theirs = (
        Party(plan=PlanLimits(requests_per_minute=1), tenant_id=number, api_key_id=number)
        for number in (1, 2)
    )
    limits = ours.limits(link)
    await limits.admit(ours.ask())
    await limits.admit(theirs.ask())
    with pytest.raises(RateLimited):
        await limits.admit(theirs.ask())


async def test_a_client_that_leaves_while_asking_holds_nothing(link: RedisLink, server: Any) -> None:
    limit = budget("1")
    party = Party(plan=PlanLimits(concurrent_requests=1), budgets=(limit,))
    limits = party.limits(link)
    asking = asyncio.create_task(limits.admit(party.ask()))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    await settled(limits)
    assert server.zcard("zerorate:{t1}:slots") == 0
    assert int(server.hget(party.counter(limit), "reserved")) == 0
    await limits.admit(party.ask())


async def test_a_day_and_a_month_are_counted_apart(link: RedisLink, server: Any) -> None:
    day, month = budget("0.00005", number=1, period="day"), budget("1", number=2)
    party = Party(budgets=(day, month))
    limits = party.limits(link)
    (await limits.admit(party.ask())).settle(USED, COST)
    with pytest.raises(BudgetExceeded, match="budget of this day"):
        await limits.admit(party.ask())
    await settled(limits)
    assert [server.hget(party.counter(one), "spent") for one in (day, month)] == [b"50000", b"50000"]
    assert server.ttl(party.counter(day)) < 3 * 86_400 + 1
    assert NANO == 10**9
