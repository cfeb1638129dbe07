"""The lever that sets a plan's limits, and the pages of budgets and their alerts."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter, RelatedDropdownFilter
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from billing.models import Budget, BudgetAlert, Plan
from billing.money import format_decimal
from billing.services.budgets import save_budget
from billing.services.catalog import limit_plan
from tenants.admin_limits import limit_field
from tenants.admin_pages import FactsAdmin, FactsInline, Lever, ModelForm, OperatorAdmin, badge

LEVEL_COLOURS = {BudgetAlert.Level.SOFT: "warning", BudgetAlert.Level.HARD: "danger"}


def bound_field(label: str) -> forms.IntegerField:
    """Return the field that asks for a bound that may be zero."""
    return forms.IntegerField(
        label=label, min_value=0, max_value=2**31 - 1, widget=UnfoldAdminIntegerFieldWidget
    )


class LimitPlan(Lever):
    """Hold a plan's tenants to limits."""

    name, title, icon = "limits", "Limits", "speed"
    permission = "billing.change_plan"
    explanation = (
        "They hold for each tenant on the plan, within a second, beside those of its keys. Empty: no limit."
    )

    requests_per_minute = limit_field()
    tokens_per_minute = limit_field()
    concurrent_requests = limit_field()
    max_output_tokens = limit_field()
    max_body_bytes = limit_field()
    count_hits = forms.BooleanField(label="Hits count too", required=False, widget=UnfoldBooleanSwitchWidget)
    enable_cache = forms.BooleanField(label="Cache", required=False, widget=UnfoldBooleanSwitchWidget)
    drain_seconds = bound_field("Read on after a client hung up, seconds")
    drain_tokens = bound_field("Read on after a client hung up, streamed tokens")

    def __init__(self, *args: Any, row: Plan, **kwargs: Any) -> None:
        super().__init__(*args, row=row, **kwargs)
        for name in Plan.LIMITS:
            self.fields[name].initial = getattr(row, name)

    def pull(self, *, now: datetime) -> str:
        del now
        limit_plan(plan=self.row, limits=self.cleaned_data)
        return f"The limits of {self.row} are set."


class BudgetForm(ModelForm):
    """Says what the database would refuse without words."""

    webhook_url = forms.URLField(
        label="Webhook",
        required=False,
        max_length=500,
        assume_scheme="https",
        widget=UnfoldAdminTextInputWidget,
        help_text="Told by a POST, signed with the secret below.",
    )

    class Meta:
        model = Budget
        fields = [
            "tenant",
            "api_key",
            "period",
            "soft_amount",
            "hard_amount",
            "webhook_url",
            "webhook_secret",
            "email",
        ]

    def clean_webhook_url(self) -> str:
        """Refuse what is not spoken over HTTP."""
        url: str = self.cleaned_data["webhook_url"]
        if url and not url.startswith(("http://", "https://")):
            raise forms.ValidationError("A URL begins with http:// or https://.")
        return url

    def clean(self) -> None:
        """Refuse a key of another tenant."""
        super().clean()
        key, tenant = self.cleaned_data.get("api_key"), self.cleaned_data.get("tenant")
        if key is not None and tenant is not None and key.tenant_id != tenant.pk:
            self.add_error("api_key", "The key is not one of this tenant's.")


class BudgetAlertInline(FactsInline):
    """What was told of a budget."""

    model = BudgetAlert
    fields = readonly_fields = ("period_start", "level", "spent", "raised_at", "delivered_at", "problem")

    @admin.display(description="spent")
    def spent(self, alert: BudgetAlert) -> str:
        """Return the amount, every digit."""
        return format_decimal(alert.spent_amount)


@admin.register(Budget)
class BudgetAdmin(OperatorAdmin):
    """What tenants and keys may spend."""

    form = BudgetForm
    list_display = ("tenant", "api_key", "period", "soft", "hard", "webhook_url", "email")
    list_filter = (("tenant", RelatedDropdownFilter), ("period", ChoicesDropdownFilter))
    list_filter_submit = True
    list_select_related = ("tenant", "api_key")
    search_fields = ("tenant__slug", "api_key__name")
    autocomplete_fields = ("tenant", "api_key")
    fields = (("tenant", "api_key"), "period", ("soft_amount", "hard_amount"), ("webhook_url", "email"))
    inlines = (BudgetAlertInline,)

    @admin.display(description="soft", ordering="soft_amount")
    def soft(self, budget: Budget) -> str:
        """Return the soft amount."""
        return "–" if budget.soft_amount is None else format_decimal(budget.soft_amount)

    @admin.display(description="hard", ordering="hard_amount")
    def hard(self, budget: Budget) -> str:
        """Return the hard amount."""
        return "–" if budget.hard_amount is None else format_decimal(budget.hard_amount)

    def get_fields(self, request: HttpRequest, obj: Budget | None = None) -> Any:
        may_change = self.has_change_permission(request, obj)
        return (*self.fields, "webhook_secret") if may_change else self.fields  # who signs, changes

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        save_budget(budget=obj)


@admin.register(BudgetAlert)
class BudgetAlertAdmin(FactsAdmin):
    """Budgets that were passed, and who has been told."""

    list_display = ("budget", "shown_level", "period_start", "spent", "raised_at", "delivered_at", "problem")
    list_filter = (("level", ChoicesDropdownFilter), ("raised_at", RangeDateTimeFilter))
    list_filter_submit = True
    list_select_related = ("budget__tenant", "budget__api_key")
    search_fields = ("budget__tenant__slug",)

    spent = BudgetAlertInline.spent

    @badge("level", LEVEL_COLOURS)
    def shown_level(self, alert: BudgetAlert) -> str:
        """Return the level, coloured."""
        return alert.level


class BudgetInline(FactsInline):
    """A tenant's budgets, those of its keys among them."""

    model = Budget
    fields = readonly_fields = ("api_key", "period", "soft", "hard")
    soft, hard = BudgetAdmin.soft, BudgetAdmin.hard

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("tenant", "api_key")
