"""Pieces of time in which nothing changes: one plan, the same prices and discounts, the same invoices."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db.models import Q

from billing.exports.rate_card import Rates, rate_card
from billing.models import HitDiscount, Invoice, Plan, Price, Subscription
from billing.rating.price_book import PriceBook
from metering.periods import Period
from tenants.models import Tenant

USAGE, LATE_USAGE = "usage", "late_usage"


class Billed(NamedTuple):
    """On which invoice an event of a piece stands, by the transaction that recorded it.

    ``watermarks`` ascend. An event of a transaction below ``watermarks[0]`` stands on ``numbers[0]`` as
    ``kinds[0]``, one below ``watermarks[1]`` on ``numbers[1]`` and so on; the last number is empty and waits
    for an invoice, so there is one number and one kind more than there are watermarks.
    """

    watermarks: list[int]
    numbers: list[str]
    kinds: list[str]


class Piece(NamedTuple):
    """A piece of time with its rates; without a plan in force there is no currency and no rate."""

    period: Period
    currency: str
    rates: list[Rates]
    billed: Billed


def pieces_of(*, tenant: Tenant, period: Period) -> list[Piece]:
    """Return the period, in order, cut wherever a price, a discount, a plan or an invoice begins or ends."""
    subscriptions = _subscriptions(tenant, period)
    books = {subscription.plan_id: _price_book(subscription.plan) for subscription in subscriptions}
    invoices = _invoices(tenant, period)
    cuts = [instant for invoice in invoices for instant in (invoice.period_start, invoice.period_end)]
    for subscription in subscriptions:
        cuts += [subscription.starts_at, subscription.ends_at or period.end]
        cuts += books[subscription.plan_id].change_instants(period)
    pieces = []
    for part in period.split(cuts):
        book = next((books[held.plan_id] for held in subscriptions if _holds(held, part.start)), None)
        rates = list(rate_card(book=book, instant=part.start)) if book else []
        billed = _billed(part.start, invoices)
        pieces.append(Piece(part, book.currency if book else "", rates, billed))
    return pieces


def _subscriptions(tenant: Tenant, period: Period) -> list[Subscription]:
    ends_later = Q(ends_at=None) | Q(ends_at__gt=period.start)
    found = Subscription.objects.filter(ends_later, tenant=tenant, starts_at__lt=period.end)
    return list(found.select_related("plan"))


def _holds(subscription: Subscription, instant: datetime) -> bool:
    return subscription.starts_at <= instant and (
        subscription.ends_at is None or instant < subscription.ends_at
    )


def _price_book(plan: Plan) -> PriceBook:
    return PriceBook.from_rows(
        currency=plan.currency,
        prices=Price.objects.filter(plan=plan).values(),
        hit_discounts=HitDiscount.objects.filter(plan=plan).values(),
    )


def _invoices(tenant: Tenant, period: Period) -> list[Invoice]:
    """Return, in the order of their periods, the final invoices that the period's usage can stand on."""
    final = Invoice.objects.exclude(status__in=[Invoice.Status.DRAFT, Invoice.Status.VOID])
    return list(final.filter(tenant=tenant, period_end__gt=period.start).order_by("period_start"))


def _billed(instant: datetime, invoices: Sequence[Invoice]) -> Billed:
    """Tell what usage of an instant stands on: its period's invoice, or what came late, on a later one."""
    candidates = [invoice for invoice in invoices if invoice.period_end > instant]
    if not candidates or candidates[0].period_start > instant:
        return Billed([], [""], [USAGE])
    billed = Billed([], [], [])
    for invoice in candidates:
        if not billed.watermarks or invoice.usage_watermark > billed.watermarks[-1]:
            billed.watermarks.append(invoice.usage_watermark)
            billed.numbers.append(invoice.number or "")
            billed.kinds.append(LATE_USAGE if billed.kinds else USAGE)
    billed.numbers.append("")
    billed.kinds.append(LATE_USAGE)
    return billed
