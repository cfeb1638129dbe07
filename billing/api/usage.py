"""``GET /api/v1/usage``."""

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.period import HourlyQuery, refuse
from billing.api.representations import ExactField
from billing.selectors.contracts import currency_of
from billing.selectors.savings import Figures
from billing.selectors.usage_groups import DIMENSIONS, usage_groups
from metering.models import Outcome
from tenants.api.views import TenantView
from tenants.models import Scope

MOST_HOURS = 31 * 24


class GroupByField(serializers.CharField):
    """Names of dimensions, separated by commas."""

    def to_internal_value(self, data: Any) -> list[str]:  # type: ignore[override]
        """Return the names, in the order given, each once."""
        names = list(dict.fromkeys(super().to_internal_value(data).split(",")))
        unknown = [name for name in names if name not in DIMENSIONS]
        if unknown:
            raise serializers.ValidationError(
                f"One cannot group by “{', '.join(unknown)}”; name some of {', '.join(DIMENSIONS)}."
            )
        return names


class UsageQuery(HourlyQuery):
    """What usage to sum, and how."""

    group_by = GroupByField(
        required=False,
        help_text=f"Some of `{'`, `'.join(DIMENSIONS)}`, separated by commas; `day` by default.",
    )
    model = serializers.CharField(required=False, help_text="Only this model.")
    outcome = serializers.ChoiceField(Outcome.choices, required=False, help_text="Only this outcome.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Bound the answer."""
        valid = {"group_by": ["day"]} | super().validate(attrs)
        start, end = valid["period"]
        if "hour" in valid["group_by"] and end - start > timedelta(hours=MOST_HOURS):
            refuse("group_by", f"By hour, ask for {MOST_HOURS // 24} days at most, or group by day.")
        return valid


class FiguresRepresentation(serializers.Serializer[Figures]):
    """Counts, and money as accrued: exact, before an invoice rounds its lines."""

    calls = serializers.IntegerField(help_text="How many calls were answered.")
    hits = serializers.IntegerField(help_text="How many of them the cache answered.")
    tokens_served = serializers.IntegerField(help_text="Tokens in and out, of hits too.")
    tokens_computed = serializers.IntegerField(help_text="Tokens in and out that a model worked for.")
    units_served = serializers.IntegerField(help_text="Units of models that count no tokens.")
    units_computed = serializers.IntegerField(help_text="Units that a model worked for.")
    list = ExactField(help_text="What it would have cost without the cache.")
    charged = ExactField(help_text="What it costs.")
    saved = ExactField(help_text="The list price less the charge.")
    unrated_calls = serializers.IntegerField(help_text="Calls with quarantined usage, in no figure of money.")


class UsageGroup(FiguresRepresentation):
    """The figures of one group; it is named by the dimensions that were asked for."""

    day = serializers.DateTimeField(required=False, help_text="Start of the day, UTC.")
    hour = serializers.DateTimeField(required=False, help_text="Start of the hour, UTC.")
    model = serializers.CharField(required=False)
    outcome = serializers.ChoiceField(Outcome.choices, required=False)
    quality = serializers.CharField(required=False)


class UsageAnswer(serializers.Serializer[Any]):
    """Usage of a period by group."""

    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField(help_text="Exclusive.")
    currency = serializers.CharField(allow_null=True, help_text="ISO 4217; null before the first plan.")
    groups = UsageGroup(many=True)


class UsageView(TenantView):
    """Usage, summed and priced."""

    scope = Scope.USAGE_READ

    @extend_schema(
        operation_id="usage",
        summary="Usage by day, hour, model or outcome",
        tags=["usage"],
        parameters=[UsageQuery],
        responses=UsageAnswer,
    )
    def get(self, request: Request) -> Response:
        """Sum the usage that is rolled up so far, served and computed, at the prices of its time.

        Groups without usage are left out. Rollups run some seconds behind; `usage.csv` has every event at once.
        """
        query = UsageQuery.read(request)
        groups = usage_groups(
            tenant=self.tenant,
            period=query["period"],
            group_by=query["group_by"],
            model=query.get("model"),
            outcome=query.get("outcome"),
        )
        named = [
            dict(zip(query["group_by"], values, strict=True)) | figures._asdict()
            for values, figures in groups.items()
        ]
        start, end = query["period"]
        answer = {"period_start": start, "period_end": end, "currency": currency_of(tenant_id=self.tenant.pk)}
        return Response(UsageAnswer(answer | {"groups": named}).data)
