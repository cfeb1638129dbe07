"""``GET /api/v1/cache/statistics``: what the cache saves, where hits come from, and why misses are none."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.period import HourlyQuery
from billing.api.representations import ExactField
from cacheproxy.api.staff import TenantOrStaffView
from cacheproxy.semantic_budgets import budget_reports
from cacheproxy.statistics import PERMISSIONS, ModelStatistics, cache_statistics
from tenants.models import ApiKey, Scope

REASONS_HELP = {
    "never_seen": "Not asked before, as far as the gateway remembers.",
    "expired": "Its time to live was over.",
    "evicted": "It had to make room.",
    "invalidated": "An invalidation ended it.",
    "version": "The model has a new version, another upstream or another policy.",
    "policy": "The model's policy keeps no such answer.",
    "client": "The call asked for a fresh answer.",
}
TIERS_HELP = {
    "memory": "Hits from a gateway's memory.",
    "redis": "Hits from Redis.",
    "semantic": "Hits by meaning.",
    "coalesced": "Calls that shared the answer of one that was under way.",
    "stale": "Expired answers.",
    "batch": "Lists of which every item was there.",
}


def _counts(name: str, help_text: str, labels: dict[str, str]) -> serializers.Serializer[Any]:
    fields: dict[str, serializers.Field[Any, Any, Any, Any]] = {
        label: serializers.IntegerField(help_text=says) for label, says in labels.items()
    }
    return inline_serializer(name, fields, help_text=help_text)


class StatisticsQuery(HourlyQuery):
    """Whose calls, and when."""

    tenant = serializers.SlugField(
        required=False,
        help_text="For staff: whose calls; without it everybody's. A key's own tenant otherwise.",
    )
    model = serializers.CharField(required=False, help_text="Only this model.")


class ModelStatisticsRepresentation(serializers.Serializer[Any]):
    """How the cache did for one tenant's calls of one model."""

    tenant = serializers.SlugField()
    model = serializers.CharField()
    currency = serializers.CharField(allow_null=True, help_text="ISO 4217; null before the first plan.")
    calls = serializers.IntegerField(help_text="How many calls were answered.")
    hits = serializers.IntegerField(help_text="How many of them the cache answered.")
    hit_rate = ExactField(help_text="Hits by calls, 0 to 1, to four decimals.")
    tokens_saved = serializers.IntegerField(help_text="Tokens served that no model worked for.")
    units_saved = serializers.IntegerField(help_text="Units served that no model worked for.")
    saved = ExactField(help_text="The list price of the hits less what they were charged.")
    hits_by_tier = _counts("HitsByTier", "Hits by where they came from, as gateways counted.", TIERS_HELP)
    misses_by_reason = _counts("MissesByReason", "Misses by why, as gateways counted.", REASONS_HELP)
    bytes_given = serializers.IntegerField(help_text="Bytes of the answers that the cache gave.")
    mean_age_seconds = serializers.IntegerField(
        allow_null=True, help_text="How old these answers were on average; null where there were none."
    )


class BudgetRepresentation(serializers.Serializer[Any]):
    """How a model's semantic hits do under its error budget."""

    model = serializers.CharField()
    version = serializers.CharField()
    shut_off = serializers.BooleanField(
        help_text="Whether no hit is served, until checks prove answers good."
    )
    wrong_ratio = ExactField(help_text="The share of the hits that is wrong at most, 0 to 1.")
    tolerated_ratio = ExactField(help_text="The share of the hits that may be wrong, 0 to 1.")
    checks = serializers.IntegerField(help_text="How many hits the upstream was really asked about.")
    wrong = serializers.IntegerField(help_text="How many of these were wrong.")
    drifts = serializers.IntegerField(help_text="How often the answers changed and all proof was void.")
    updated_at = serializers.DateTimeField()


class StatisticsAnswer(serializers.Serializer[Any]):
    """The cache's statistics of a period."""

    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField(help_text="Exclusive.")
    models = ModelStatisticsRepresentation(many=True)
    semantic_budgets = BudgetRepresentation(
        many=True, help_text="For staff: how far semantic hits are trusted, as of now; empty for a key."
    )


class StatisticsView(TenantOrStaffView):
    """How well the cache does."""

    scope = Scope.USAGE_READ
    staff_permissions = {"GET": PERMISSIONS}

    @extend_schema(
        operation_id="cache_statistics",
        summary="What the cache saves, and why calls miss it",
        parameters=[StatisticsQuery],
        responses=StatisticsAnswer,
    )
    def get(self, request: Request) -> Response:
        """Tell by model how many calls the cache answered, from where, what that saved, and why it had no answer.

        Calls, tokens and money are exact, as far as usage is rolled up. Tiers, reasons, bytes and ages are what the
        gateways counted, half a minute behind: they explain, and bill nothing.
        """
        query = StatisticsQuery.read(request)
        found = cache_statistics(period=query["period"], tenant=self.named_tenant(query.get("tenant")))
        start, end = query["period"]
        models = [_represented(one) for one in found if query.get("model") in {None, one.model}]
        known = [] if isinstance(request.auth, ApiKey) else budget_reports()
        budgets = [one for one in known if query.get("model") in {None, one.model}]
        answer = {"period_start": start, "period_end": end, "models": models, "semantic_budgets": budgets}
        return Response(StatisticsAnswer(answer).data)


def _represented(one: ModelStatistics) -> dict[str, Any]:
    figures, counts = one.figures, one.counts
    return {
        "tenant": one.tenant.slug,
        "model": one.model,
        "currency": one.currency,
        "calls": figures.calls,
        "hits": figures.hits,
        "hit_rate": figures.hit_rate,
        "tokens_saved": figures.tokens_served - figures.tokens_computed,
        "units_saved": figures.units_served - figures.units_computed,
        "saved": figures.saved,
        "hits_by_tier": counts.tiers,
        "misses_by_reason": counts.reasons,
        "bytes_given": counts.bytes_given,
        "mean_age_seconds": counts.mean_age_seconds,
    }
