"""The operator's pages for upstreams and models."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import RelatedDropdownFilter

from cacheproxy.admin_invalidations import invalidate_button
from cacheproxy.models import ServedModel, Target, Upstream
from cacheproxy.policy import PolicyError, parse_cache_policy, parse_metering_rules
from cacheproxy.pools import unknown_pools
from tenants.admin_pages import FactsInline, ModelForm, OperatorAdmin, TabularInline, link_to

if TYPE_CHECKING:  # Django's class takes type arguments here only
    BaseInlineFormSet = forms.BaseInlineFormSet[Any, Any, Any]
else:
    from django.forms import BaseInlineFormSet

CACHE_HELP = (
    "JSON; all optional: enabled, ttl_seconds, ttl_jitter, stale_if_error_seconds, early_refresh, "
    "stale_while_revalidate_seconds, coalesce, batches, tags, scope (tenant, key, session or pool), pool, "
    'volatile_fields (paths into the request, as ["/messages/*/name"]), '
    "round_digits, cacheable, sensitive, admit_after, negative, semantic, tasks. docs/cache.md tells them all."
)
METERING_HELP = (
    "JSON, for predict: a pool or units → one of pointer (into the answer), per_call, per_item (pointer to a "
    'list in the request), per_kib. As {"units": {"per_call": 1}}. Empty: the answer\'s usage object.'
)


class ServedModelForm(ModelForm):
    """Checks policies as ``manage.py apply`` does."""

    class Meta:
        model = ServedModel
        fields = ["name", "enabled", "version", "retry", "cache", "metering"]
        help_texts = {"cache": CACHE_HELP, "metering": METERING_HELP}

    def clean_cache(self) -> dict[str, Any]:
        """Refuse a cache policy that the gateway could not follow."""
        stated = self._parsed("cache", parse_cache_policy)
        if unknown := unknown_pools(parse_cache_policy(stated)):
            raise forms.ValidationError(f"cache.pool: there is no pool “{unknown[0]}”.")
        return stated

    def clean_metering(self) -> dict[str, Any]:
        """Refuse a metering rule that the gateway could not follow."""
        return self._parsed("metering", parse_metering_rules)

    def _parsed(self, field: str, parse: Callable[[object], object]) -> dict[str, Any]:
        value = self.cleaned_data[field]
        stated: dict[str, Any] = {} if value is None else value
        try:
            parse(stated)
        except PolicyError as error:
            raise forms.ValidationError(str(error)) from error
        return stated


class UpstreamForm(ModelForm):
    """Says what the database would refuse without words."""

    class Meta:
        model = Upstream
        fields = [
            "name", "protocol", "url", "api_key_env",
            "timeout_seconds", "connect_timeout_seconds", "first_byte_timeout_seconds", "idle_timeout_seconds",
            "breaker_failures", "breaker_open_seconds",
        ]  # fmt: skip

    def clean_url(self) -> str:
        """Refuse what is not spoken over HTTP."""
        url: str = self.cleaned_data["url"]
        if not url.startswith(("http://", "https://")):
            raise forms.ValidationError("A URL begins with http:// or https://.")
        return url


class TargetForms(BaseInlineFormSet):
    """Says what the database would refuse without words."""

    def clean(self) -> None:
        """Refuse a model served nowhere, and targets that speak different protocols: a call is written for one."""
        super().clean()
        stated = [form.cleaned_data for form in self.forms if form.is_valid()]
        upstreams = [data["upstream"] for data in stated if "upstream" in data and not data.get("DELETE")]
        if not upstreams and not any(self.errors):
            raise forms.ValidationError("A model is served by at least one upstream.")
        if len(protocols := {str(upstream.protocol) for upstream in upstreams}) > 1:
            raise forms.ValidationError(
                f"The targets of a model speak one protocol; these speak {', '.join(sorted(protocols))}."
            )


class TargetInline(TabularInline):
    """Where a model is served."""

    model = Target
    formset = TargetForms
    fields = ("upstream", "upstream_model", "weight", "priority")
    min_num = 1
    extra = 0
    hide_title = True


class ServedModelInline(FactsInline):
    """The models that an upstream serves."""

    model = Target
    verbose_name_plural = "models"
    fields = readonly_fields = ("shown_name", "upstream_model", "weight", "priority", "enabled")

    @admin.display(description="name")
    def shown_name(self, target: Target) -> str:
        """Return the name, and the way to the model's own page."""
        return link_to(target.model, target.model.name)

    @admin.display(boolean=True)
    def enabled(self, target: Target) -> bool:
        """Return whether customers can use the model."""
        return target.model.enabled


@admin.register(Upstream)
class UpstreamAdmin(OperatorAdmin):
    """Model servers."""

    list_display = ("name", "protocol", "url", "timeout_seconds")
    search_fields = ("name", "url")
    form = UpstreamForm
    inlines = (ServedModelInline,)


@admin.register(ServedModel)
class ServedModelAdmin(OperatorAdmin):
    """What customers name in ``model``."""

    form = ServedModelForm
    inlines = (TargetInline,)
    list_display = ("name", "shown_targets", "version", "enabled")
    list_filter = (("targets__upstream", RelatedDropdownFilter), "enabled")
    list_filter_submit = True
    search_fields = ("name", "targets__upstream_model")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServedModel]:
        return super().get_queryset(request).prefetch_related("targets__upstream")

    def row_links(self, request: HttpRequest, row: ServedModel) -> list[dict[str, Any]]:
        return invalidate_button(request, model=row.name)

    @admin.display(description="served by")
    def shown_targets(self, model: ServedModel) -> str:
        """Return every target, first choice first."""
        return ", ".join(map(str, model.targets.all()))
