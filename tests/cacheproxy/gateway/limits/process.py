"""A gateway's limits in a process of its own; ``python -m`` of this module is that process.

It asks for so many calls, waits for a line after it has connected so that all begin together, and prints how
many were let in and what they cost, in billionths.
"""

import asyncio
import sys

from cacheproxy.gateway.errors import GatewayError
from cacheproxy.gateway.limits.rules import PlanLimits
from tests.cacheproxy.gateway.limits.party import COST, NANO, USED, Party, budget, linked


async def run(redis_url: str, requests_per_minute: int, hard_amount: str, calls: int) -> tuple[int, int]:
    """Return the calls that were let in, and the sum of their charges."""
    party = Party(plan=PlanLimits(requests_per_minute=requests_per_minute), budgets=(budget(hard_amount),))
    async with linked(redis_url) as link:
        limits = party.limits(link)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        admitted = 0
        for _ in range(calls // 10):
            outcomes = await asyncio.gather(
                *(limits.admit(party.ask()) for _ in range(10)), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, GatewayError):
                    continue
                if isinstance(outcome, BaseException):
                    raise outcome
                outcome.settle(USED, COST)
                admitted += 1
        await limits.stop()
        assert not limits.arbiter.decided_alone
    return admitted, admitted * int(COST * NANO)


if __name__ == "__main__":
    url, rate, amount, count = sys.argv[1:]
    print(*asyncio.run(run(url, int(rate), amount, int(count))), flush=True)
