"""Closing periods: roll up, draft, finalise, tenant by tenant."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import Exists, OuterRef

from billing.errors import BillingError, DraftOutdated, PeriodAlreadyClosed, PeriodNotOver
from billing.models import Invoice
from billing.selectors.due_periods import due_periods
from billing.services.invoicing import draft_invoice, finalise_invoice
from metering.models import UsageRollup
from metering.periods import Period
from metering.services.rollups import roll_up
from tenants.models import Tenant

logger = logging.getLogger(__name__)

TRIES = 3


class Verdict(NamedTuple):
    """What closing a period came to for one tenant: an invoice, an error, or neither where there was no usage."""

    tenant: Tenant
    invoice: Invoice | None = None
    error: BillingError | None = None


def close_period(
    *,
    period: Period,
    now: datetime,
    tenant: Tenant | None = None,
    early: bool = False,
    on_verdict: Callable[[Verdict], object] = lambda _verdict: None,
) -> list[Verdict]:
    """Roll usage up, then draft and finalise the period's invoice of one tenant or of all with usage.

    Each tenant's invoice is a transaction of its own; what refuses one does not stop the others. `early` closes a
    period that still runs: what comes after is billed late, with the next one. Not to be called inside a
    transaction.

    Raises:
        PeriodNotOver: it has not ended and `early` is not given.
        PeriodAlreadyClosed: there is nothing left to close in it.
    """
    if period.end > now and not early:
        name = f"{period.start:%Y-%m}"
        raise PeriodNotOver(f"{name} runs until {period.end:%Y-%m-%d %H:%M} UTC; --early closes it before.")
    roll_up(now=now)
    verdicts = []
    for known in tenants_with_usage(period=period) if tenant is None else [tenant]:
        verdict = _close(known, period, now)
        verdicts.append(verdict)
        on_verdict(verdict)
    closed = [verdict.error for verdict in verdicts if isinstance(verdict.error, PeriodAlreadyClosed)]
    if closed and not any(_is_news(verdict) for verdict in verdicts):
        raise PeriodAlreadyClosed(str(closed[0]))
    return verdicts


def close_due_periods(*, now: datetime) -> list[Verdict]:
    """Draft the invoices of months that have ended, and finalise them `CLOSE_GRACE_HOURS` after the end.

    A sweep: what fails is logged and tried again by the next one.
    """
    roll_up(now=now)
    tenants = Tenant.objects.in_bulk()
    verdicts = []
    for due in due_periods(now=now):
        is_over = due.period.end + timedelta(hours=settings.CLOSE_GRACE_HOURS) <= now
        verdict = (_close if is_over else _draft)(tenants[due.tenant_id], due.period, now)
        if verdict.error is not None:
            logger.warning("%s of %s: %s", due.period.start.date(), verdict.tenant.slug, verdict.error)
        verdicts.append(verdict)
    return verdicts


def tenants_with_usage(*, period: Period) -> list[Tenant]:
    """Return the tenants with usage up to the end of the period: in it, or perhaps late."""
    usage = UsageRollup.objects.filter(tenant=OuterRef("pk"), hour__lt=period.end)
    return list(Tenant.objects.filter(Exists(usage)))


def _close(tenant: Tenant, period: Period, now: datetime) -> Verdict:
    for tries in range(TRIES):
        try:
            draft = draft_invoice(tenant=tenant, period=period, now=now)
            return Verdict(tenant, draft and finalise_invoice(invoice=draft, now=now))
        except DraftOutdated as error:
            if tries == TRIES - 1:
                return Verdict(tenant, error=error)
        except BillingError as error:
            return Verdict(tenant, error=error)
    raise AssertionError("unreachable")


def _draft(tenant: Tenant, period: Period, now: datetime) -> Verdict:
    try:
        return Verdict(tenant, draft_invoice(tenant=tenant, period=period, now=now))
    except BillingError as error:
        return Verdict(tenant, error=error)


def _is_news(verdict: Verdict) -> bool:
    """Return whether the period was open for the tenant until now, or still is."""
    if verdict.error is None:
        return verdict.invoice is not None
    return not isinstance(verdict.error, PeriodAlreadyClosed)
