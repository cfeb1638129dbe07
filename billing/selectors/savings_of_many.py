"""What the cache saves many tenants: the figures of `savings`, in as many queries for one tenant as for all."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from django.db.models import Q

from billing.models import Subscription
from billing.rating.invoice_lines import Contract, change_instants
from billing.rating.price_book import PriceBook
from billing.selectors.contracts import price_book
from billing.selectors.savings import Part, Savings, midnights, rated_part, summed
from metering.periods import Period
from metering.usage_by_tenant import usage_by_tenant

_AS_KNOWN_NOW = datetime.max.replace(tzinfo=UTC)


class _TenantPart(NamedTuple):
    tenant_id: int
    currency: str | None
    part: Part


def savings_by_currency(*, period: Period) -> dict[str | None, Savings]:
    """Return what all tenants of a currency used, paid and saved over a period of whole UTC days.

    Usage of tenants that were never on a plan in the period stands under None.
    """
    parts: dict[str | None, list[Part]] = {}
    days = midnights(period)
    for one in _parts(period, days, None):
        parts.setdefault(one.currency, []).append(one.part)
    return {currency: summed(parts[currency], currency=currency, days=days) for currency in parts}


def savings_by_tenant(*, tenant_ids: Collection[int] | None, period: Period) -> dict[int, Savings]:
    """Return what each of the tenants that used anything paid and saved over a period, not apart by day.

    None: of every tenant.
    """
    parts: dict[int, list[_TenantPart]] = {}
    for one in _parts(period, (), tenant_ids):
        parts.setdefault(one.tenant_id, []).append(one)
    return {
        tenant_id: summed([one.part for one in known], currency=known[0].currency, days=())
        for tenant_id, known in parts.items()
    }


def _parts(
    period: Period, days: Collection[datetime], tenant_ids: Collection[int] | None
) -> Iterator[_TenantPart]:
    contracts = _contracts(period, tenant_ids)
    changes = change_instants(contract for held in contracts.values() for contract in held)
    for tenant_id, usage in usage_by_tenant(period=period, cuts={*days, *changes}, tenant_ids=tenant_ids):
        held = contracts.get(tenant_id, [])
        yield _TenantPart(tenant_id, held[0].book.currency if held else None, rated_part(usage, held))


def _contracts(period: Period, tenant_ids: Collection[int] | None) -> dict[int, list[Contract]]:
    held = Subscription.objects.filter(
        Q(ends_at=None) | Q(ends_at__gt=period.start), starts_at__lt=period.end
    )
    if tenant_ids is not None:
        held = held.filter(tenant__in=tenant_ids)
    books: dict[int, PriceBook] = {}
    contracts: dict[int, list[Contract]] = {}
    for one in held.select_related("plan").order_by("tenant", "starts_at"):
        if one.plan_id not in books:
            books[one.plan_id] = price_book(plan=one.plan, priced_at=_AS_KNOWN_NOW)
        span = Period(max(one.starts_at, period.start), min(one.ends_at or period.end, period.end))
        contracts.setdefault(one.tenant_id, []).append(Contract(span, books[one.plan_id]))
    return contracts
