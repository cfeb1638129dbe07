"""What a call may take: requests, tokens, slots and money, asked of the arbiter before the upstream is.

Before a call what it will use is estimated: bytes of its body / 4 as input, and as output what it asks for at
most, else `assumed_output_tokens` (none where the model's output has no price); money at the list price. The
grant replaces the estimate by the real figures.
"""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from billing.money import ZERO, billionths
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.errors import GatewayError
from cacheproxy.gateway.limits.arbiter import Arbiter
from cacheproxy.gateway.limits.errors import BudgetExceeded, MaxTokensExceeded, RateLimited, TooManyConcurrent
from cacheproxy.gateway.limits.grants import NO_GRANT, Grant, HeldGrant
from cacheproxy.gateway.limits.headers import Header, duration, rate_headers
from cacheproxy.gateway.limits.operations import (
    BY_RATE,
    BY_SLOTS,
    BudgetShare,
    Operation,
    RateShare,
    SlotShare,
    Verdict,
)
from cacheproxy.gateway.limits.rules import (
    Rules,
    budget_key,
    counter_expiry,
    period_start,
)
from cacheproxy.gateway.understanding import Ask
from cacheproxy.protocols.estimate import rounded_up
from cacheproxy.redis_link import RedisLink
from metering.tokens import TokenPools

SLOT_RETRY_MS = 1000


class Estimate(NamedTuple):
    """What a call will take at most, as far as can be told; tokens of the answer are a guess where none are stated."""

    given: int
    output: int
    is_output_stated: bool

    def tokens(self, per_minute: int) -> int:
        """Return the tokens to count before; a guess alone never makes a call too large for its limit."""
        tokens = self.given + self.output
        return tokens if self.is_output_stated or self.given > per_minute else min(tokens, per_minute)


class Limits:
    """All limits of all callers of this process: ``start()``, then calls, then ``stop()``."""

    def __init__(self, settings: GatewaySettings, link: RedisLink | None) -> None:
        self._assumed_output_tokens = settings.assumed_output_tokens
        self.arbiter = Arbiter(link, lease_seconds=settings.limit_lease_seconds)

    async def start(self) -> None:
        """Begin to renew the leases of calls under way."""
        await self.arbiter.start()

    async def stop(self) -> None:
        """Tell Redis what it was not told yet; to be called when no call is under way, before the link is closed."""
        await self.arbiter.stop()

    async def admit(self, ask: Ask) -> Grant:
        """Let a call go to its upstream, and return what it holds until it is settled or released.

        Returns at once where nothing is limited; waits for one reply of Redis otherwise.

        Raises:
            MaxTokensExceeded: it asks for more output than the plan or key allows.
            RateLimited, TooManyConcurrent: a limit of the plan or key is reached.
            BudgetExceeded: it might cost more than a budget has left.
        """
        rules = ask.caller.rules
        if rules is None:
            return NO_GRANT
        stated = ask.facts.output_limit
        if stated is not None and rules.max_output_tokens is not None and stated > rules.max_output_tokens:
            raise MaxTokensExceeded(stated, rules.max_output_tokens)
        estimate = self._estimate(ask, stated)
        listed = ask.tariff.list_price(TokenPools(input=estimate.given, output=estimate.output), units=1)
        slots = tuple(SlotShare(slot.key, slot.at_once) for slot in rules.slots)
        shares = _rate_shares(rules, estimate)
        return await self._take(ask, rules, shares, slots, listed if rules.budgets else ZERO)

    async def admit_hit(self, ask: Ask, pools: TokenPools, charged: Decimal) -> Grant:
        """Let a call be answered from the cache; to be settled with the same figures once its event is durable.

        Returns at once, but where the plan counts hits, or where there is a budget and the hit is not free.

        Raises:
            RateLimited: a limit of the plan or key is reached.
            BudgetExceeded: it costs more than a budget has left.
        """
        rules = ask.caller.rules
        if rules is None:
            return NO_GRANT
        exact = Estimate(pools.given, pools.output, is_output_stated=False)
        shares = _rate_shares(rules, exact) if rules.count_hits else ()
        if not shares and not (rules.budgets and charged):
            return NO_GRANT
        return await self._take(ask, rules, shares, (), charged)

    def headers(self, ask: Ask) -> list[Header]:
        """Return the ``x-ratelimit-*`` headers as far as this process knows; none where no rate is limited."""
        rules = ask.caller.rules
        if rules is None or not rules.rates:
            return []
        return rate_headers(rules.rates, self.arbiter.local, ask.call.now_ms)

    def _estimate(self, ask: Ask, stated: int | None) -> Estimate:
        given = rounded_up(len(ask.body))
        if stated is not None:
            return Estimate(given, stated, is_output_stated=True)
        assumed = self._assumed_output_tokens if ask.tariff.prices_output else 0
        return Estimate(given, assumed, is_output_stated=False)

    async def _take(
        self,
        ask: Ask,
        rules: Rules,
        rates: tuple[RateShare, ...],
        slots: tuple[SlotShare, ...],
        cost: Decimal,
    ) -> Grant:
        operation = Operation(
            "take",
            rules.tenant_id,
            ask.call.event_id.hex,
            rates,
            slots,
            _budget_shares(rules, billionths(cost), ask.call.now),
        )
        verdict = await self.arbiter.take(operation)
        if verdict.refused:
            raise self._refusal(rules, operation, verdict, ask.call.now_ms)
        return HeldGrant(self.arbiter, operation)

    def _refusal(self, rules: Rules, operation: Operation, verdict: Verdict, now_ms: int) -> GatewayError:
        if verdict.refused == BY_RATE:
            rate, share = rules.rates[verdict.index], operation.rates[verdict.index]
            headers = rate_headers(rules.rates, self.arbiter.local, now_ms)
            limit = f"{rate.per_minute:,} {rate.kind} per minute, the limit of {rate.holder}"
            if verdict.wait_ms < 0:
                return RateLimited(
                    f"This call alone may take {share.cost:,} tokens, of {limit}. Ask for less in one call.",
                    headers,
                )
            wait = duration(verdict.wait_ms).decode()
            return RateLimited(f"You have used {limit}. Try again in {wait}.", headers, verdict.wait_ms)
        if verdict.refused == BY_SLOTS:
            slots = rules.slots[verdict.index]
            return TooManyConcurrent(slots.at_once, slots.holder, SLOT_RETRY_MS)
        return BudgetExceeded(rules.budgets[verdict.index].period)


def _rate_shares(rules: Rules, estimate: Estimate) -> tuple[RateShare, ...]:
    return tuple(
        RateShare(key, per_minute, estimate.tokens(per_minute), is_tokens=True)
        if kind == "tokens"
        else RateShare(key, per_minute, 1)
        for key, kind, per_minute, _ in rules.rates
    )


def _budget_shares(rules: Rules, nano: int, now: datetime) -> tuple[BudgetShare, ...]:
    shares = []
    for budget in rules.budgets:
        start = period_start(budget.period, now)
        key = budget_key(rules.tenant_id, budget.id, start)
        shares.append(BudgetShare(key, budget.hard_nano, nano, counter_expiry(budget.period, start)))
    return tuple(shares)
