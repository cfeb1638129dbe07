"""The operator's pages for tenants, their members and their API keys."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from tenants.admin_limits import LimitKey
from tenants.admin_pages import (
    FactsAdmin,
    FactsInline,
    Lever,
    OperatorAdmin,
    ShowOnce,
    TabularInline,
    badge,
    link_to,
)
from tenants.errors import TenantError
from tenants.models import ApiKey, Member, Scope, Tenant, User, all_scopes
from tenants.services import (
    IssuedKey,
    activate_tenant,
    issue_key,
    revoke_key,
    rotate_key,
    suspend_tenant,
)

if TYPE_CHECKING:
    from django.contrib.auth import admin as auth_admin
    from django.contrib.auth.forms import AdminPasswordChangeForm
    from django.contrib.auth.forms import AdminUserCreationForm as BaseCreationForm
    from django.contrib.auth.forms import UserChangeForm as BaseChangeForm

    UserCreationForm = BaseCreationForm[User]
    UserChangeForm = BaseChangeForm[User]
    UserAdmin = auth_admin.UserAdmin[User]
else:
    from django.contrib.auth.admin import UserAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

OVERLAPS = [
    (0, "none: the old key stops now"),
    (1, "1 hour"),
    (24, "1 day"),
    (168, "7 days"),
    (720, "30 days"),
]


class SuspendTenant(Lever):
    """Stop a tenant's calls."""

    name, title, icon = "suspend", "Suspend", "block"
    permission, variant = "tenants.change_tenant", ActionVariant.DANGER
    explanation = "Every call of this tenant is refused within a second. Its usage and invoices stay."

    @classmethod
    def applies(cls, row: Tenant) -> bool:
        return row.status == Tenant.Status.ACTIVE

    def pull(self, *, now: datetime) -> str:
        del now
        suspend_tenant(tenant=self.row)
        return f"{self.row} is suspended."


class ActivateTenant(Lever):
    """Let a suspended tenant call again."""

    name, title, icon = "activate", "Activate", "play_arrow"
    permission, variant = "tenants.change_tenant", ActionVariant.SUCCESS
    explanation = "This tenant's keys work again within a second."

    @classmethod
    def applies(cls, row: Tenant) -> bool:
        return row.status == Tenant.Status.SUSPENDED

    def pull(self, *, now: datetime) -> str:
        del now
        activate_tenant(tenant=self.row)
        return f"{self.row} is active."


class IssueKey(Lever):
    """Make a new API key and show it, once."""

    name, title, icon = "issue-key", "Issue API key", "key"
    permission, refusals = "tenants.add_apikey", (TenantError,)
    explanation = "The key is shown once, on the next page. Only its digest is stored."

    key_name = forms.CharField(
        label="Name", max_length=100, widget=UnfoldAdminTextInputWidget, help_text="What will use it."
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, initial=all_scopes, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    expires_at = forms.SplitDateTimeField(
        label="Expires at (UTC)",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Empty: never.",
    )

    def clean_expires_at(self) -> datetime | None:
        """Refuse an end that has passed already."""
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if expires_at and expires_at <= timezone.now():
            raise forms.ValidationError("This has passed already. Name a later instant, or leave it empty.")
        return expires_at

    def pull(self, *, now: datetime) -> ShowOnce:
        asked = self.cleaned_data
        issued = issue_key(
            tenant=self.row,
            name=asked["key_name"],
            now=now,
            scopes=asked["scopes"],
            expires_at=asked["expires_at"],
        )
        return show_once(issued)


class RotateKey(Lever):
    """Issue a key's successor."""

    name, title, icon = "rotate", "Rotate", "autorenew"
    permission, refusals = "tenants.add_apikey", (TenantError,)
    explanation = "Issues a successor with the same name and scopes, shown once on the next page."

    overlap = forms.TypedChoiceField(
        label="The old key works on for",
        choices=OVERLAPS,
        coerce=int,
        initial=24,
        widget=UnfoldAdminSelectWidget,
    )

    @classmethod
    def applies(cls, row: ApiKey) -> bool:
        return state_of(row, timezone.now()) == "usable"

    def pull(self, *, now: datetime) -> ShowOnce:
        overlap = timedelta(hours=self.cleaned_data["overlap"])
        return show_once(rotate_key(api_key=self.row, now=now, overlap=overlap))


class RevokeKey(Lever):
    """Stop a key for good."""

    name, title, icon = "revoke", "Revoke", "block"
    permission, variant = "tenants.change_apikey", ActionVariant.DANGER
    explanation = "Every gateway refuses this key within a second, for good."

    @classmethod
    def applies(cls, row: ApiKey) -> bool:
        return row.revoked_at is None or row.revoked_at > timezone.now()

    def pull(self, *, now: datetime) -> str:
        revoke_key(api_key=self.row, now=now)
        return f"{self.row} is revoked."


def show_once(issued: IssuedKey) -> ShowOnce:
    """Return the one page that shows a key's text."""
    return ShowOnce("admin/tenants/key_issued.html", {"issued": issued})


def state_of(api_key: ApiKey, now: datetime) -> str:
    """Return whether a key is usable, revoked or expired at *now*."""
    if api_key.revoked_at and api_key.revoked_at <= now:
        return "revoked"
    return "expired" if api_key.expires_at and api_key.expires_at <= now else "usable"


class KeyColumns:
    """What a list says of a key beyond its columns."""

    @admin.display(description="key")
    def shown_id(self, api_key: ApiKey) -> str:
        """Return the part of the key that may be shown."""
        return f"zr_live_{api_key.public_id}…"

    @admin.display(description="scopes")
    def shown_scopes(self, api_key: ApiKey) -> str:
        """Return the scopes in one line."""
        return ", ".join(api_key.scopes)

    @badge("state", {"usable": "success", "revoked": "danger", "expired": "warning"})
    def state(self, api_key: ApiKey) -> str:
        """Return whether the key works now."""
        return state_of(api_key, timezone.now())


class MemberInline(TabularInline):
    """Who acts for a tenant, and as what."""

    model = Member
    extra = 0
    autocomplete_fields = ("user",)


class ApiKeyInline(KeyColumns, FactsInline):
    """A tenant's keys; each leads to its own page, where it is rotated and revoked."""

    model = ApiKey
    fields = readonly_fields = (
        "shown_name",
        "shown_id",
        "shown_scopes",
        "state",
        "expires_at",
        "last_used_at",
    )
    verbose_name_plural = "API keys"

    @admin.display(description="name")
    def shown_name(self, api_key: ApiKey) -> str:
        """Return the name, and the way to the key's own page."""
        return link_to(api_key, api_key.name)


@admin.register(Tenant)
class TenantAdmin(OperatorAdmin):
    """Tenants, with their members and keys."""

    list_display: tuple[str, ...] = ("name", "slug", "shown_status", "created_at")
    list_filter = (("status", ChoicesDropdownFilter),)
    list_filter_submit = True
    search_fields = ("slug", "name", "billing_email")
    fields = (("name", "slug"), ("billing_email", "shown_status"), "billing_address", "keep_content")
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 4})}}
    inlines: ClassVar[tuple[Any, ...]] = (MemberInline, ApiKeyInline)
    levers: Sequence[type[Lever]] = (IssueKey, SuspendTenant, ActivateTenant)

    @badge("status", {Tenant.Status.ACTIVE: "success", Tenant.Status.SUSPENDED: "danger"})
    def shown_status(self, tenant: Tenant) -> str:
        """Return the status, coloured."""
        return tenant.status

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        return (
            ["shown_status", "slug"] if obj else ["shown_status"]
        )  # programs and catalog files name a tenant by it

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # usage and invoices name their tenant for ever


@admin.register(ApiKey)
class ApiKeyAdmin(KeyColumns, FactsAdmin):
    """Keys of every tenant. Only the name can be edited; limits have a lever."""

    list_display = ("name", "tenant", "shown_id", "shown_scopes", "state", "expires_at", "last_used_at")
    list_filter = (("tenant", RelatedDropdownFilter),)
    list_filter_submit = True
    list_select_related = ("tenant",)
    search_fields = ("name", "public_id", "tenant__slug")
    fields = (
        "name",
        ("tenant", "shown_id"),
        ("state", "shown_scopes"),
        ("created_at", "last_used_at"),
        ("expires_at", "revoked_at"),
        "rotated_from",
        ("requests_per_minute", "tokens_per_minute"),
        ("concurrent_requests", "max_output_tokens", "enable_cache"),
        ("shown_models", "shown_networks"),
    )
    readonly_fields = (
        "tenant",
        "shown_id",
        "state",
        "shown_scopes",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
        "rotated_from",
        *ApiKey.LIMITS,
        "enable_cache",
        "shown_models",
        "shown_networks",
    )
    levers = (RotateKey, LimitKey, RevokeKey)

    @admin.display(description="allowed models")
    def shown_models(self, api_key: ApiKey) -> str:
        """Return the models that the key is bound to."""
        return ", ".join(api_key.allowed_models) or "every model of the plan"

    @admin.display(description="allowed networks")
    def shown_networks(self, api_key: ApiKey) -> str:
        """Return the networks that the key is bound to."""
        return ", ".join(api_key.allowed_networks) or "any"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.change_apikey")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return ApiKey.objects.select_related("tenant", "rotated_from").defer("digest")


class _UserCreationForm(UserCreationForm):
    class Meta:
        model = User
        fields = ("username",)


class _UserChangeForm(UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"


@admin.register(User)
class PersonAdmin(UserAdmin, OperatorAdmin):  # type: ignore[misc]
    """People who sign in. Only superusers may change who may do what."""

    form = _UserChangeForm
    add_form = _UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_staff", "is_superuser", "last_login")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)


def _is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_active and request.user.is_superuser)


admin.site.unregister(Group)


@admin.register(Group)
class OperatorGroupAdmin(GroupAdmin, OperatorAdmin):
    """Named sets of permissions for operators."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _is_superuser(request)
