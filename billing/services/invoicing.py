"""Drafting and finalising invoices."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from billing.errors import DraftOutdated, InvoiceNotDraft, PeriodAlreadyClosed
from billing.models import Invoice, InvoiceLine, WrongHitCredit
from billing.rating.invoice_lines import RatedLine
from billing.selectors.composition import Composition, compose, current_ledger, rollup_source
from billing.services.numbers import take_number
from metering.periods import Period
from metering.selectors import rollup_watermark
from metering.snapshot import snapshot
from tenants.models import Tenant


def draft_invoice(*, tenant: Tenant, period: Period, now: datetime) -> Invoice | None:
    """Draft the tenant's invoice for a period from what is rolled up, or refresh the draft that is there.

    Returns None, and leaves no draft, where there is neither usage nor late usage. Reads in one snapshot without
    locks; writes in a short transaction that locks the tenant, then its invoices. Not to be called inside
    a transaction.

    Raises:
        PeriodAlreadyClosed: the period has a final invoice.
        EarlierPeriodOpen, InvoicedUsageChanged, NoPlan: see `compose`.
        DraftOutdated: another invoice of the tenant became final or void meanwhile; try again.
    """
    with snapshot() as priced_at:
        watermark = rollup_watermark()
        ledger = current_ledger(tenant_id=tenant.pk)
        _refuse_closed(ledger.standing, period)
        composition = compose(
            tenant_id=tenant.pk,
            period=period,
            priced_at=priced_at,
            source=rollup_source(tenant_id=tenant.pk, watermark=watermark),
            ledger=ledger,
        )
        basis = _statuses([*ledger.standing, *ledger.voided])
    with transaction.atomic():
        invoices = _lock_invoices(tenant)
        finals = [invoice for invoice in invoices if invoice.status != Invoice.Status.DRAFT]
        if _statuses(finals) != basis:
            raise DraftOutdated("Another invoice of the tenant became final or void meanwhile; draft again.")
        draft = next((known for known in invoices if known not in finals and _is_of(known, period)), None)
        if draft is not None and draft.usage_watermark > watermark:
            return draft
        return _save_draft(
            draft or Invoice(tenant=tenant, period_start=period.start, period_end=period.end),
            composition,
            watermark=watermark,
            priced_at=priced_at,
            now=now,
        )


@transaction.atomic
def finalise_invoice(*, invoice: Invoice, now: datetime) -> Invoice:
    """Make a draft final: it takes the next number and its lines and prices never change again.

    Open, or paid at once where nothing is owed. Short, because the number is locked to the end: nothing is
    worked out here. Locks the tenant, then its invoices, then the series.

    Raises:
        InvoiceNotDraft: it is final already.
        DraftOutdated: another invoice of the tenant became final or void after the draft was made.
    """
    others = {known.pk: known for known in _lock_invoices(invoice.tenant)}
    draft = others.pop(invoice.pk, None)
    if draft is None or draft.status != Invoice.Status.DRAFT:
        raise InvoiceNotDraft(f"{draft or 'The draft'} is {draft.status if draft else 'gone'}, not a draft.")
    if any(_became_final_after(other, draft.drafted_at) for other in others.values()):
        raise DraftOutdated("Another invoice of the tenant became final or void meanwhile; draft again.")
    draft.number = take_number(prefix="INV", now=now)
    draft.finalised_at = now
    draft.due_at = now + timedelta(days=settings.INVOICE_DUE_DAYS)
    draft.status = Invoice.Status.OPEN if draft.net_minor else Invoice.Status.PAID
    draft.paid_at = None if draft.net_minor else now
    draft.save()
    return draft


def _lock_invoices(tenant: Tenant) -> list[Invoice]:
    Tenant.objects.select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)
    return list(Invoice.objects.select_for_update().filter(tenant=tenant).order_by("pk"))


def _refuse_closed(standing: Iterable[Invoice], period: Period) -> None:
    for invoice in standing:
        if invoice.period_start < period.end and period.start < invoice.period_end:
            raise PeriodAlreadyClosed(f"{period.start:%Y-%m} is already closed: {invoice.number}.")


def _statuses(invoices: Iterable[Invoice]) -> dict[int, bool]:
    """Return which invoices are final, and which of these are void: what a draft depends on."""
    return {invoice.pk: invoice.status == Invoice.Status.VOID for invoice in invoices}


def _became_final_after(invoice: Invoice, instant: datetime) -> bool:
    return any(
        moment is not None and moment > instant for moment in (invoice.finalised_at, invoice.voided_at)
    )


def _is_of(invoice: Invoice, period: Period) -> bool:
    return (invoice.period_start, invoice.period_end) == tuple(period)


def _save_draft(
    draft: Invoice, composition: Composition, *, watermark: int, priced_at: datetime, now: datetime
) -> Invoice | None:
    if not composition.lines:
        if draft.pk is not None:
            draft.delete()
        return None
    draft.currency = composition.currency
    draft.list_minor = sum(line.list_minor for line in composition.lines)
    draft.discount_minor = sum(line.discount_minor for line in composition.lines)
    draft.net_minor = sum(line.net_minor for line in composition.lines)
    draft.usage_watermark = watermark
    draft.priced_at = priced_at
    draft.price_book_version = composition.price_book_version
    draft.drafted_at = now
    draft.save()
    draft.lines.all().delete()
    InvoiceLine.objects.bulk_create(
        _row(draft, position, line) for position, line in enumerate(composition.lines, start=1)
    )
    draft.wrong_hit_credits.all().delete()
    WrongHitCredit.objects.bulk_create(
        WrongHitCredit(invoice=draft, wrong_hit_id=credit.wrong_hit_id, charged_accrued=credit.charged)
        for credit in composition.credits
    )
    return draft


def _row(invoice: Invoice, position: int, line: RatedLine) -> InvoiceLine:
    return InvoiceLine(
        invoice=invoice,
        position=position,
        kind=line.kind,
        original_period_start=line.original_period_start,
        **line.key._asdict(),
        **line.served._asdict(),
        list_accrued=line.list_accrued,
        net_accrued=line.net_accrued,
        list_minor=line.list_minor,
        discount_minor=line.discount_minor,
        net_minor=line.net_minor,
    )
