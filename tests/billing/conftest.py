from datetime import UTC, datetime

from billing.models import Invoice
from billing.services.invoicing import draft_invoice, finalise_invoice
from metering.periods import Period, month
from metering.services.rollups import roll_up
from tenants.models import Tenant

OCTOBER, NOVEMBER, DECEMBER = month("2026-10"), month("2026-11"), month("2026-12")
IN_DECEMBER = datetime(2026, 12, 2, tzinfo=UTC)


def draft(tenant: Tenant, period: Period = NOVEMBER, now: datetime = IN_DECEMBER) -> Invoice:
    roll_up(now=now)
    drafted = draft_invoice(tenant=tenant, period=period, now=now)
    assert drafted is not None
    return drafted


def bill(tenant: Tenant, period: Period = NOVEMBER, now: datetime = IN_DECEMBER) -> Invoice:
    return finalise_invoice(invoice=draft(tenant, period, now), now=now)
