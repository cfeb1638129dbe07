"""Who takes part in the tests of limits: a plan, a key, and calls, without a gateway around them."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.rating.price_book import PriceBook
from cacheproxy.cache.epochs import Epochs
from cacheproxy.gateway.admission import caller_of
from cacheproxy.gateway.call import Call
from cacheproxy.gateway.catalog.catalog import Access, Catalog, Model, Plan, Subscription
from cacheproxy.gateway.catalog.tariff import tariff_at
from cacheproxy.gateway.config import GatewaySettings
from cacheproxy.gateway.controls import PLAIN
from cacheproxy.gateway.limits.limits import Limits
from cacheproxy.gateway.limits.rules import Budget, KeyLimits, PlanLimits, budget_key, period_start
from cacheproxy.gateway.understanding import Ask, Facts
from cacheproxy.policy import CachePolicy
from cacheproxy.protocols.registry import ELSEWHERE
from cacheproxy.redis_link import RedisLink, open_link
from cacheproxy.rules import ModelRules
from metering.tokens import TokenPools

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NANO = 10**9
MODEL = Model(
    name="small",
    version="1",
    protocol="openai",
    targets=(),
    retry="safe",
    rules=ModelRules(CachePolicy()),
    metering={},
    upstream_digest=b"",
)
SETTINGS = GatewaySettings(database_url="", key_pepper="")
USED = TokenPools(input=10, output=20)
COST = Decimal("0.00005")
"""What `USED` costs: a dollar a million in, two a million out."""


def price_book() -> PriceBook:
    """Return a dollar for a million tokens in, two out."""
    prices = [
        {"model": "small", "pool": pool, "amount": amount, "per": 1_000_000, "effective_from": LONG_AGO}
        for pool, amount in (("input", "1"), ("output", "2"))
    ]
    return PriceBook.from_rows(currency="USD", prices=prices, hit_discounts=[])


def budget(dollars: str, *, number: int = 1, period: Any = "month") -> Budget:
    """Return a budget of so many dollars."""
    return Budget(id=number, period=period, hard_nano=int(Decimal(dollars) * NANO))


class Party:
    """One key of one tenant on one plan; ``ask()`` is one of its calls."""

    def __init__(
        self,
        *,
        plan: PlanLimits | None = None,
        key: KeyLimits | None = None,
        budgets: tuple[Budget, ...] = (),
        tenant_id: int = 1,
        api_key_id: int = 1,
    ) -> None:
        self.access = Access(
            api_key_id=api_key_id,
            public_id="public",
            tenant_id=tenant_id,
            tenant_slug="acme",
            suspended=False,
            cache_secret=b"secret",
            scopes=frozenset({"inference"}),
            expires_at=None,
            revoked_at=None,
            subscriptions=(Subscription(1, LONG_AGO, None),),
            limits=key or KeyLimits(),
            budgets=budgets,
        )
        self.plan = Plan(
            plan_id=1, name="plan", currency="USD", book=price_book(), limits=plan or PlanLimits()
        )
        self.catalog = Catalog()
        self.catalog.plans = {1: self.plan}

    def limits(self, link: RedisLink | None, *, lease_seconds: float = 60) -> Limits:
        """Return one gateway's limits."""
        settings = GatewaySettings(database_url="", key_pepper="", limit_lease_seconds=lease_seconds)
        return Limits(settings, link)

    def ask(self, body: bytes = b"x" * 40, *, output: int | None = 20) -> Ask:
        """Return a call; its body is reckoned as a quarter of its bytes."""
        call = Call("/", ELSEWHERE, {}, _nothing, _nothing)
        tariff = tariff_at(self.plan.book, "small", call.now)
        assert tariff is not None
        facts = Facts(
            MODEL,
            MODEL.rules.base,
            key=None,
            flight=None,
            as_kept=True,
            shares=True,
            output_limit=output,
            era=Epochs().era(1, "small", "1"),
        )
        return Ask(call, caller_of(self.access, 1, self.plan), PLAIN, body, facts, tariff, None)

    def counter(self, of: Budget) -> bytes:
        """Return the key of a budget's counter now."""
        return budget_key(self.access.tenant_id, of.id, period_start(of.period, datetime.now(UTC)))


async def _nothing(*_: Any) -> Any:
    raise AssertionError("limits neither read nor answer a call")


async def settled(limits: Limits) -> None:
    """Return once Redis has heard of everything."""
    await limits.stop()


@contextlib.asynccontextmanager
async def linked(url: str, *, budget_seconds: float = 5) -> AsyncIterator[RedisLink]:
    """Give a link, patient on a busy machine."""
    link = open_link(url, budget_seconds=budget_seconds)
    await link.connect()
    try:
        yield link
    finally:
        await link.close()
