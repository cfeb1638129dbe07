"""Pieces of time in which nothing changes: one plan, the same prices and discounts, the same invoices."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from billing.exports.rate_card import Rates, rate_card
from billing.models import Invoice
from billing.rating.invoice_lines import LATE_USAGE, USAGE, Contract, change_instants
from billing.selectors.composition import current_ledger
from billing.selectors.contracts import contracts_within
from metering.periods import Period
from tenants.models import Tenant


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


def pieces_of(*, tenant: Tenant, period: Period, now: datetime) -> list[Piece]:
    """Return the period, in order, cut wherever a price, a discount, a plan or an invoice begins or ends."""
    contracts = contracts_within(tenant_id=tenant.pk, period=period, priced_at=now)
    invoices = current_ledger(tenant_id=tenant.pk).standing
    bounds = {instant for invoice in invoices for instant in (invoice.period_start, invoice.period_end)}
    return [
        _piece(part, contracts, _billed(part.start, invoices))
        for part in period.split(change_instants(contracts) | bounds)
    ]


def _piece(period: Period, contracts: Sequence[Contract], billed: Billed) -> Piece:
    contract = next((known for known in contracts if known.span.contains(period.start)), None)
    if contract is None:
        return Piece(period, "", [], billed)
    return Piece(period, contract.book.currency, list(rate_card(contract.book, period.start)), billed)


def _billed(instant: datetime, invoices: Sequence[Invoice]) -> Billed:
    """Tell what usage of an instant stands on: its own period's invoice or, if it came late, a later one."""
    own = next((known for known in invoices if known.period_start <= instant < known.period_end), None)
    if own is None:
        return Billed([], [""], [USAGE])
    billed = Billed([own.usage_watermark], [own.number or ""], [USAGE])
    later = [known for known in invoices if known.period_start >= own.period_end]
    for invoice in sorted(later, key=lambda known: (known.finalised_at, known.pk)):
        if invoice.usage_watermark > billed.watermarks[-1]:
            billed.watermarks.append(invoice.usage_watermark)
            billed.numbers.append(invoice.number or "")
            billed.kinds.append(LATE_USAGE)
    billed.numbers.append("")
    billed.kinds.append(LATE_USAGE)
    return billed
