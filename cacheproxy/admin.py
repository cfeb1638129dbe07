"""The operator's pages for upstreams and models."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from unfold.contrib.filters.admin import RelatedDropdownFilter

from cacheproxy.models import ServedModel, Upstream
from cacheproxy.policy import PolicyError, parse_cache_policy, parse_metering_rules
from tenants.admin_pages import FactsInline, ModelForm, OperatorAdmin, link_to

CACHE_HELP = (
    "JSON; all optional: enabled, ttl_seconds, ttl_jitter, scope (tenant, key or session), "
    'volatile_fields (JSON Pointers into the request, as ["/metadata/timestamp"]).'
)
METERING_HELP = (
    "JSON, for predict: a pool or units → one of pointer (into the answer), per_call, per_item (pointer to a "
    'list in the request), per_kib. As {"units": {"per_call": 1}}. Empty: the answer\'s usage object.'
)


class ServedModelForm(ModelForm):
    """Checks policies as ``manage.py apply`` does."""

    class Meta:
        model = ServedModel
        fields = ["name", "enabled", "upstream", "upstream_model", "version", "cache", "metering"]
        help_texts = {"cache": CACHE_HELP, "metering": METERING_HELP}

    def clean_cache(self) -> dict[str, Any]:
        """Refuse a cache policy that the gateway could not follow."""
        return self._parsed("cache", parse_cache_policy)

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
        fields = ["name", "protocol", "url", "api_key_env", "timeout_seconds"]

    def clean_url(self) -> str:
        """Refuse what is not spoken over HTTP."""
        url: str = self.cleaned_data["url"]
        if not url.startswith(("http://", "https://")):
            raise forms.ValidationError("A URL begins with http:// or https://.")
        return url


class ServedModelInline(FactsInline):
    """The models that an upstream serves."""

    model = ServedModel
    fields = readonly_fields = ("shown_name", "upstream_model", "version", "enabled")

    @admin.display(description="name")
    def shown_name(self, model: ServedModel) -> str:
        """Return the name, and the way to the model's own page."""
        return link_to(model, model.name)


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
    list_display = ("name", "upstream", "upstream_model", "version", "enabled")
    list_filter = (("upstream", RelatedDropdownFilter), "enabled")
    list_filter_submit = True
    list_select_related = ("upstream",)
    search_fields = ("name", "upstream_model")
