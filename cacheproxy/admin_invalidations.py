"""The operator's page for invalidations of the cache: what was ended and by whom, and a form to end more."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter, RelatedDropdownFilter
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldBooleanSwitchWidget

from billing.admin.tenants import BilledTenantAdmin
from cacheproxy.admin_pools import JoinPool, LeavePool, PoolInline
from cacheproxy.admin_statistics import statistics_button
from cacheproxy.errors import CacheError, UnfitSelection
from cacheproxy.invalidations import Author, Selection, check, invalidate
from cacheproxy.models import CacheInvalidation, ServedModel
from tenants.admin_pages import ModelForm, OperatorAdmin, button
from tenants.models import Tenant, User

PLACES = ("tenant", "pool", "model", "version", "session", "tag", "key", "matching")


def models() -> list[tuple[str, str]]:
    """Return the choice of a model, or none."""
    return [
        ("", "every model"),
        *((name, name) for name in ServedModel.objects.values_list("name", flat=True)),
    ]


class InvalidationForm(ModelForm):
    """Checks a selection as the command and the API do."""

    model = forms.ChoiceField(choices=models, required=False, widget=UnfoldAdminSelectWidget)
    everything = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Every answer of every tenant; with nothing else stated.",
    )

    class Meta:
        model = CacheInvalidation
        fields = [*PLACES, "everything", "reason"]
        help_texts = {
            "tenant": "Empty: every tenant's answers.",
            "pool": "Instead of a tenant: what its members share.",
            "version": "Of the model. Empty: all of them.",
            "session": "As the tenant's calls name it in X-Zerorate-Session.",
            "tag": "As calls name it in X-Zerorate-Cache-Tags, or the model's policy does.",
            "key": "One answer, as x-zerorate-key shows it to a call with X-Zerorate-Show-Key: true.",
            "matching": "An RE2 expression: the tenant's answers whose question it finds in the semantic tier.",
            "reason": "Kept with the record.",
        }

    @property
    def selection(self) -> Selection:
        """Return what was stated."""
        return Selection(
            **{name: self.cleaned_data.get(name) or Selection._field_defaults[name] for name in PLACES}
        )

    def clean(self) -> None:
        """Refuse what does not go together."""
        try:
            check(self.selection, everything=self.cleaned_data["everything"])
        except UnfitSelection as refusal:
            self.add_error(refusal.field, str(refusal))
        except CacheError as refusal:
            self.add_error(None, str(refusal))


@admin.register(CacheInvalidation)
class CacheInvalidationAdmin(OperatorAdmin):
    """What was invalidated: only ever added to."""

    form = InvalidationForm
    actions = None
    list_display = ("epoch", "made_at", "shown_selection", "made_by", "via", "reason")
    list_filter = (
        ("tenant", RelatedDropdownFilter),
        ("pool", RelatedDropdownFilter),
        ("via", ChoicesDropdownFilter),
        ("made_at", RangeDateTimeFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant", "pool")
    search_fields = ("tenant__slug", "model", "tag", "session", "key", "matching", "made_by", "reason")

    @admin.display(description="ended")
    def shown_selection(self, invalidation: CacheInvalidation) -> str:
        """Return what was selected, in words."""
        return str(invalidation)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        on_record = (*PLACES, "reason", "made_by", "via", "made_at", "epoch")
        return on_record if obj else InvalidationForm.Meta.fields

    def save_model(self, request: HttpRequest, obj: CacheInvalidation, form: Any, change: bool) -> None:
        """Invalidate, in the name of who is signed in."""
        assert isinstance(request.user, User), "the admin lets nobody else in"
        made = invalidate(
            selection=form.selection,
            author=Author(request.user.get_username(), CacheInvalidation.Via.ADMIN),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
            everything=form.cleaned_data["everything"],
        )
        obj.epoch = made.epoch


def invalidate_button(request: HttpRequest, **place: Any) -> list[dict[str, Any]]:
    """Return the button to the form with *place* filled in, for those who may use it."""
    if not request.user.has_perm("cacheproxy.add_cacheinvalidation"):
        return []
    form = f"{reverse('admin:cacheproxy_cacheinvalidation_add')}?{urlencode(place)}"
    return [button("Invalidate cache", form, "mop")]


admin.site.unregister(Tenant)


@admin.register(Tenant)
class CachedTenantAdmin(BilledTenantAdmin):
    """A tenant's page, with what the cache adds to it."""

    inlines = (*BilledTenantAdmin.inlines, PoolInline)
    levers = (*BilledTenantAdmin.levers, JoinPool, LeavePool)

    def row_links(self, request: HttpRequest, row: Tenant) -> list[dict[str, Any]]:
        return [
            *super().row_links(request, row),
            *statistics_button(request, row),
            *invalidate_button(request, tenant=row.pk),
        ]
