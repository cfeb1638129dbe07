"""Which months of which tenants want an invoice."""

from datetime import datetime
from typing import NamedTuple

from django.db import connection

from metering.periods import Period, month_of, previous_month

# Every month of usage beside its final invoices: none, one that stands, or ones that were voided.
_MONTHS = """
SELECT used.tenant_id, used.start_at, bool_or(invoice.id IS NOT NULL) AS is_closed,
       bool_or(invoice.status <> 'void' AND used.watermark > invoice.usage_watermark) AS has_late_usage
FROM (
    SELECT tenant_id, date_trunc('month', hour, 'UTC') AS start_at, max(watermark) AS watermark
    FROM metering_usagerollup WHERE hour < %(until)s GROUP BY 1, 2
) AS used
LEFT JOIN billing_invoice AS invoice ON invoice.tenant_id = used.tenant_id
    AND invoice.period_start = used.start_at AND invoice.status <> 'draft'
GROUP BY 1, 2
"""


class DuePeriod(NamedTuple):
    """A month that has ended and that a tenant has no final invoice for; oldest first."""

    period: Period
    tenant_id: int


def due_periods(*, now: datetime) -> list[DuePeriod]:
    """Return ended months with usage that were never invoiced, and last month where an older one grew since.

    A month whose invoice was voided is not due: an operator closes it again by hand, or leaves it.
    """
    last = previous_month(now)
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS, {"until": last.end})
        rows = cursor.fetchall()
    closed = {DuePeriod(month_of(start), tenant_id) for tenant_id, start, is_closed, _ in rows if is_closed}
    used = {DuePeriod(month_of(start), tenant_id) for tenant_id, start, _, _ in rows}
    late = {DuePeriod(last, tenant_id) for tenant_id, _, _, has_late_usage in rows if has_late_usage}
    return sorted((used | late) - closed)
