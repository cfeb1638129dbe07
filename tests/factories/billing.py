"""Plans, prices and subscriptions, as they were before anybody subscribed."""

from datetime import UTC, datetime
from decimal import Decimal

from factory.declarations import Sequence, SubFactory
from factory.django import DjangoModelFactory

from billing.models import HitDiscount, Plan, Price, Subscription
from tenants.models import Tenant
from tests.factories.tenants import TenantFactory

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class PlanFactory(DjangoModelFactory[Plan]):
    class Meta:
        model = Plan

    name = Sequence(lambda number: f"plan-{number}")
    currency = "USD"


class PriceFactory(DjangoModelFactory[Price]):
    class Meta:
        model = Price

    plan = SubFactory(PlanFactory)
    model = "qwen"
    pool = "input"
    amount = Decimal("0.50")
    per = 1_000_000
    effective_from = LONG_AGO


class HitDiscountFactory(DjangoModelFactory[HitDiscount]):
    class Meta:
        model = HitDiscount

    plan = SubFactory(PlanFactory)
    outcome = "exact"
    percent = Decimal(100)
    effective_from = LONG_AGO


class SubscriptionFactory(DjangoModelFactory[Subscription]):
    class Meta:
        model = Subscription

    tenant = SubFactory(TenantFactory)
    plan = SubFactory(PlanFactory)
    starts_at = LONG_AGO


def subscribed_tenant(*, currency: str = "USD", semantic_percent: str = "80") -> Tenant:
    """Make a tenant on a plan that sells `qwen` by the token and `ocr` by the page."""
    plan = PlanFactory.create(currency=currency)
    for model, pool, amount, per in (
        ("qwen", "input", "0.50", 1_000_000),
        ("qwen", "cache_read", "0.05", 1_000_000),
        ("qwen", "output", "1.50", 1_000_000),
        ("ocr", "units", "0.01", 1),
    ):
        PriceFactory.create(plan=plan, model=model, pool=pool, amount=Decimal(amount), per=per)
    HitDiscountFactory.create(plan=plan, outcome="semantic", percent=Decimal(semantic_percent))
    return SubscriptionFactory.create(plan=plan).tenant
