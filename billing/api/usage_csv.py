"""``GET /api/v1/usage.csv``."""

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request

from billing.api.period import PeriodQuery
from billing.exports.usage_csv import usage_csv
from tenants.api.views import TenantView
from tenants.models import Scope


class UsageCsvView(TenantView):
    """Every usage event of a period, with what it cost."""

    scope = Scope.USAGE_READ

    @extend_schema(
        operation_id="usage_csv",
        summary="Usage events as CSV",
        tags=["usage"],
        parameters=[PeriodQuery],
        responses={(200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "A row per usage event.")},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Stream one row per usage event of the period, in the order in which they occurred.

        Amounts (`list`, `charged`, `saved`, and `<pool>_list`, `<pool>_charged`) are exact decimals in
        `currency` at the prices in force when the call occurred; an invoice line is the sum of a pool's columns
        over its rows, rounded once. `billed_as` is `usage` or `late_usage`, `invoice` the number of the
        invoice that the event stands on, empty until there is one. `quarantined_pools` names pools that are
        not charged, for want of a count that can be trusted or of a price. An answer that breaks off is
        incomplete: ask again.
        """
        period = PeriodQuery.read(request)["period"]
        name = f"usage-{self.tenant.slug}-{period.start:%Y%m%dT%H%M%SZ}-{period.end:%Y%m%dT%H%M%SZ}.csv"
        return StreamingHttpResponse(
            usage_csv(tenant=self.tenant, period=period, now=timezone.now()),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
