"""Which plan a tenant was on, when, and what that plan's book said."""

from datetime import datetime

from django.db.models import Q

from billing.models import HitDiscount, Plan, Price, Subscription
from billing.rating.invoice_lines import Contract
from billing.rating.price_book import PriceBook, combined_version
from metering.periods import Period


def price_book(*, plan: Plan, priced_at: datetime) -> PriceBook:
    """Return the plan's book as it was written up to an instant, by the database's clock."""
    return PriceBook.from_rows(
        currency=plan.currency,
        prices=Price.objects.filter(plan=plan, created_at__lte=priced_at).values(
            "model", "pool", "amount", "per", "effective_from"
        ),
        hit_discounts=HitDiscount.objects.filter(plan=plan, created_at__lte=priced_at).values(
            "outcome", "model", "pool", "percent", "effective_from"
        ),
    )


def contracts_within(*, tenant_id: int, period: Period, priced_at: datetime) -> list[Contract]:
    """Return the spans of the period in which the tenant was on a plan, in order, as known at `priced_at`."""
    subscriptions = (
        Subscription.objects.filter(
            Q(ends_at=None) | Q(ends_at__gt=period.start),
            tenant_id=tenant_id,
            starts_at__lt=min(period.end, priced_at),
        )
        .select_related("plan")
        .order_by("starts_at")
    )
    books: dict[int, PriceBook] = {}
    contracts = []
    for held in subscriptions:
        if held.plan_id not in books:
            books[held.plan_id] = price_book(plan=held.plan, priced_at=priced_at)
        span = Period(max(held.starts_at, period.start), min(held.ends_at or period.end, period.end))
        contracts.append(Contract(span, books[held.plan_id]))
    return contracts


def price_book_version(*, contracts: list[Contract], period: Period, priced_at: datetime) -> str:
    """Return the SHA-256 over every price and discount that could rate usage of the period by `priced_at`.

    What was yet to take effect is left out: it may still be changed.
    """
    until = min(period.end, priced_at)
    return combined_version(contract.book.version(until=until) for contract in contracts)


def currency_of(*, tenant_id: int) -> str | None:
    """Return the one currency that the tenant is billed in; None before its first plan."""
    return Subscription.objects.filter(tenant_id=tenant_id).values_list("plan__currency", flat=True).first()
