"""The operator's pages for pools: which there are, who is and was in them, and the levers to join and leave."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from cacheproxy.errors import CacheError
from cacheproxy.invalidations import Author
from cacheproxy.models import CacheInvalidation, CachePool, PoolMembership
from cacheproxy.pools import join_pool, leave_pool, rotate_secret
from tenants.admin_pages import FactsInline, Lever, OperatorAdmin, link_to
from tenants.models import Tenant

BY_THE_ADMIN = CacheInvalidation.Via.ADMIN
STAY = ("agreed_by", "joined_at", "joined_by", "left_at", "left_by")


def joined_by(tenant: Tenant) -> QuerySet[CachePool]:
    """Return the pools that a tenant is in."""
    return CachePool.objects.filter(memberships__tenant=tenant, memberships__left_at=None)


def not_joined_by(tenant: Tenant) -> QuerySet[CachePool]:
    """Return the pools that a tenant is not in."""
    return CachePool.objects.exclude(pk__in=joined_by(tenant))


class JoinPool(Lever):
    """Let a tenant share answers."""

    name, title, icon, is_rare = "join-pool", "Join pool", "hub", True
    permission = "cacheproxy.add_poolmembership"
    explanation = (
        "From then on the tenant's calls of the models that are shared in this pool may get answers that another "
        "member paid for, and the other members may get the tenant's. It is the tenant's decision: name who took it."
    )

    pool = forms.ModelChoiceField(queryset=CachePool.objects.none(), widget=UnfoldAdminSelectWidget)
    agreed_by = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Who agreed for the tenant, and how. Kept on record.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["pool"].queryset = not_joined_by(self.row)  # type: ignore[attr-defined]

    @classmethod
    def applies(cls, row: Tenant) -> bool:
        return not_joined_by(row).exists()

    def pull(self, *, now: datetime) -> str:
        asked = self.cleaned_data
        author = Author(self.operator, BY_THE_ADMIN)
        join_pool(pool=asked["pool"], tenant=self.row, agreed_by=asked["agreed_by"], author=author, now=now)
        return f"{self.row} shares answers in {asked['pool']}."


class LeavePool(Lever):
    """Let a tenant share answers no more."""

    name, title, icon, is_rare = "leave-pool", "Leave pool", "hub", True
    permission, refusals = "cacheproxy.change_poolmembership", (CacheError,)
    variant = ActionVariant.DANGER
    explanation = (
        "Within a second the tenant neither gives answers to this pool nor gets any. All that the pool has is gone, "
        "the other members' answers as well."
    )

    pool = forms.ModelChoiceField(queryset=CachePool.objects.none(), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["pool"].queryset = joined_by(self.row)  # type: ignore[attr-defined]

    @classmethod
    def applies(cls, row: Tenant) -> bool:
        return joined_by(row).exists()

    def pull(self, *, now: datetime) -> str:
        pool = self.cleaned_data["pool"]
        leave_pool(pool=pool, tenant=self.row, author=Author(self.operator, BY_THE_ADMIN), now=now)
        return f"{self.row} has left {pool}."


class RotateSecret(Lever):
    """Key a pool's answers anew."""

    name, title, icon = "rotate-secret", "Rotate secret", "autorenew"
    permission, variant = "cacheproxy.change_cachepool", ActionVariant.DANGER
    explanation = "Within a second nothing that this pool has kept is found by anybody. Its members stay."

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Kept on record, among the invalidations.",
    )

    def pull(self, *, now: datetime) -> str:
        author = Author(self.operator, BY_THE_ADMIN)
        rotate_secret(pool=self.row, author=author, now=now, reason=self.cleaned_data["reason"])
        return f"{self.row} has a new secret."


class StayInline(FactsInline):
    """Who is and was in a pool."""

    model = PoolMembership
    verbose_name_plural = "members, now and before"
    fields = readonly_fields = ("shown_tenant", *STAY)

    @admin.display(description="tenant")
    def shown_tenant(self, stay: PoolMembership) -> str:
        """Return the tenant, and the way to its own page."""
        return link_to(stay.tenant, stay.tenant.name)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("tenant", "pool")


class PoolInline(FactsInline):
    """Which pools a tenant is and was in."""

    model = PoolMembership
    verbose_name_plural = "pools"
    fields = readonly_fields = ("shown_pool", *STAY)

    @admin.display(description="pool")
    def shown_pool(self, stay: PoolMembership) -> str:
        """Return the pool, and the way to its own page."""
        return link_to(stay.pool, stay.pool.name)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("pool", "tenant")


@admin.register(CachePool)
class CachePoolAdmin(OperatorAdmin):
    """What tenants can share answers in."""

    actions = None
    list_display = ("name", "members", "pad_hits", "made_at")
    search_fields = ("name",)
    fields = ("name", "pad_hits")
    inlines = (StayInline,)
    levers = (RotateSecret,)

    @admin.display(description="members")
    def members(self, pool: Any) -> int:
        """Return how many tenants share answers in it now."""
        number: int = pool.number
        return number

    def get_queryset(self, request: HttpRequest) -> QuerySet[CachePool]:
        current = Count("memberships", filter=Q(memberships__left_at=None))
        return CachePool.objects.defer("secret").annotate(number=current)

    def get_readonly_fields(self, request: HttpRequest, obj: CachePool | None = None) -> list[str]:
        return ["name"] if obj else []  # policies name it, and so does the record

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the record of who was in it stays
