"""``GET`` and ``POST /api/v1/cache/invalidations``: what was invalidated, and what is to be.

A tenant's key is about the tenant's own answers. Staff signed in to the admin may name any tenant, or none.
"""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from cacheproxy.api.staff import TenantOrStaffView
from cacheproxy.errors import EmptySelection
from cacheproxy.invalidations import Author, Selection, invalidate
from cacheproxy.models import CacheInvalidation, CachePool
from tenants.api.query import Query
from tenants.models import Scope, Tenant, User

API = CacheInvalidation.Via.API
PLACES = ("model", "version", "session", "tag", "key", "matching")


class Pages(CursorPagination):
    """Pages of invalidations, the latest first."""

    ordering = "-epoch"
    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"


class InvalidationRequest(Query):
    """What to invalidate: the answers that match all that is stated."""

    tenant = serializers.SlugField(
        required=False,
        help_text="For staff: whose answers; without it everybody's. A key's own tenant otherwise.",
    )
    model = serializers.CharField(required=False, max_length=200)
    version = serializers.CharField(required=False, max_length=100, help_text="Of the model.")
    session = serializers.CharField(
        required=False, max_length=256, help_text="As named in `X-Zerorate-Session`."
    )
    tag = serializers.CharField(
        required=False, max_length=128, help_text="As named in `X-Zerorate-Cache-Tags`."
    )
    key = serializers.CharField(
        required=False, max_length=80, help_text="One answer, as shown in `x-zerorate-key`."
    )
    matching = serializers.CharField(
        required=False,
        max_length=1000,
        help_text="An RE2 expression: answers whose question it finds in the semantic tier.",
    )
    everything = serializers.BooleanField(
        default=False, help_text="Needed where no model, session, tag, key or expression is stated."
    )
    reason = serializers.CharField(required=False, max_length=500, help_text="Kept with the record.")

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """Return what the body of a request states.

        Raises:
            ValidationError: it is no JSON object, or a field of it is wrong.
        """
        if not isinstance(request.data, dict):
            raise serializers.ValidationError({"body": ["Send a JSON object."]}, code="invalid")
        stated = cls(data=request.data)
        stated.is_valid(raise_exception=True)
        return dict(stated.validated_data)


class InvalidationSummary(serializers.ModelSerializer[CacheInvalidation]):
    """An invalidation on record."""

    tenant = serializers.SlugRelatedField[Tenant](
        slug_field="slug", read_only=True, allow_null=True, help_text="Null: every tenant's answers."
    )
    pool = serializers.SlugRelatedField[CachePool](
        slug_field="name", read_only=True, allow_null=True, help_text="Told to staff: whose members' answers."
    )
    answers = serializers.SerializerMethodField(
        help_text="How many answers the expression `matching` found and ended; null where none was stated."
    )
    made_by = serializers.SerializerMethodField(help_text="The key; `operator` where it was the provider.")

    class Meta:
        model = CacheInvalidation
        fields = ("epoch", "tenant", "pool", *PLACES, "answers", "reason", "made_by", "via", "made_at")

    def get_answers(self, invalidation: CacheInvalidation) -> int | None:
        """Return how many, where they were looked for."""
        return len(invalidation.keys) if invalidation.matching else None

    def get_made_by(self, invalidation: CacheInvalidation) -> str:
        """Return who it was, as far as the one who asks may know."""
        is_own = invalidation.via == API or isinstance(self.context["request"].user, User)
        return invalidation.made_by if is_own else "operator"


class InvalidationsView(TenantOrStaffView, ListAPIView[CacheInvalidation]):
    """The invalidations of the tenant that calls, or of all where staff do."""

    scope = Scope.CACHE_WRITE
    staff_permissions = {
        "GET": ["cacheproxy.view_cacheinvalidation"],
        "POST": ["cacheproxy.add_cacheinvalidation"],
    }
    pagination_class = Pages
    serializer_class = InvalidationSummary

    @extend_schema(operation_id="list_cache_invalidations", summary="Invalidations of the cache")
    def get(self, request: Request) -> Response:
        """List the invalidations, the latest first."""
        return self.list(request)

    def get_queryset(self) -> QuerySet[CacheInvalidation]:
        """Return those that the caller may see."""
        rows = CacheInvalidation.objects.select_related("tenant", "pool")
        return rows if self.request.auth is None else rows.filter(tenant=self.tenant)

    @extend_schema(
        operation_id="invalidate_cache",
        summary="Invalidate stored answers",
        request=InvalidationRequest,
        responses={201: InvalidationSummary},
    )
    def post(self, request: Request) -> Response:
        """End the answers that match all that is stated, in every gateway within a second."""
        stated = InvalidationRequest.read(request)
        places = {name: stated[name] for name in PLACES if name in stated}
        tenant = self.named_tenant(stated.get("tenant"))
        if tenant is not None and not places and not stated["everything"] and request.auth is not None:
            raise EmptySelection(
                "Name a model, session, tag, key or expression; or send “everything” as true for all your answers."
            )
        made = invalidate(
            selection=Selection(tenant, **places),
            author=Author(str(request.auth or request.user), API),
            now=timezone.now(),
            reason=stated.get("reason", ""),
            everything=stated["everything"] and tenant is None,
        )
        return Response(self.get_serializer(made).data, status=201)
