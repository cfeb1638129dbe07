"""Plans, with their prices and hit discounts, and who is subscribed to them.

What is in force is superseded, never edited: the rows are shown, and levers add their successors.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db import models, transaction
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin.limits import LimitPlan
from billing.errors import BillingError
from billing.models import HitDiscount, Plan, Price, PricedPool, Subscription
from billing.money import UnknownCurrency, format_decimal, minor_unit
from billing.services.catalog import set_hit_discount, set_price
from tenants.admin_pages import FactsAdmin, FactsInline, Lever, ModelForm, OperatorAdmin, badge

PER = [(10**power, f"{10**power:,}") for power in (6, 3, 0)]
IN_FORCE_COLOURS = {"in force": "success", "to come": "info", "superseded": "default"}


def effective_from_field() -> forms.SplitDateTimeField:
    """Return the field that asks when something begins to hold."""
    return forms.SplitDateTimeField(
        label="Effective from (UTC)",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Empty: now. Usage before it is rated as before.",
    )


class SetPrices(Lever):
    """Let new prices of a model hold from now, or from an instant to come."""

    name, title, icon = "set-prices", "New prices", "sell"
    permission, refusals = "billing.add_price", (BillingError,)
    explanation = (
        "The new prices supersede those in force; usage that has occurred keeps the prices of its time. "
        "Pools left empty stay as they are."
    )

    model = forms.CharField(
        max_length=200, widget=UnfoldAdminTextInputWidget, help_text="The name that customers use."
    )
    per = forms.TypedChoiceField(
        label="Per",
        choices=PER,
        coerce=int,
        widget=UnfoldAdminSelectWidget,
        help_text="Tokens or units that the amounts buy.",
    )
    effective_from = effective_from_field()

    def __init__(self, *args: Any, row: Plan, **kwargs: Any) -> None:
        super().__init__(*args, row=row, **kwargs)
        for pool in PricedPool:
            self.fields[pool.value] = forms.DecimalField(
                label=f"{pool.label} ({row.currency})",
                required=False,
                min_value=Decimal(0),
                max_digits=24,
                decimal_places=12,
                widget=UnfoldAdminDecimalFieldWidget,
            )

    def clean(self) -> None:
        """Refuse to set nothing."""
        super().clean()
        if not self.errors and not self._amounts():
            raise forms.ValidationError("Give the price of at least one pool.")

    @transaction.atomic
    def pull(self, *, now: datetime) -> str:
        asked = self.cleaned_data
        for pool, amount in self._amounts().items():
            set_price(
                plan=self.row,
                model=asked["model"],
                pool=pool,
                amount=amount,
                per=asked["per"],
                now=now,
                effective_from=asked["effective_from"],
            )
        return f"The new prices of {asked['model']} are set."

    def _amounts(self) -> dict[str, Decimal]:
        given = {pool.value: self.cleaned_data.get(pool.value) for pool in PricedPool}
        return {pool: amount for pool, amount in given.items() if amount is not None}


class SetHitDiscount(Lever):
    """Let a new hit discount hold from now, or from an instant to come."""

    name, title, icon = "set-hit-discount", "New hit discount", "percent"
    permission, refusals = "billing.add_hitdiscount", (BillingError,)
    explanation = (
        "Percent off the list price of a hit. The most specific row wins: model and pool, then model, then pool. "
        "Where no row speaks, exact and coalesced hits are 100 % off, semantic hits 0 %."
    )

    outcome = forms.ChoiceField(choices=HitDiscount.Outcome.choices, widget=UnfoldAdminSelectWidget)
    percent = forms.DecimalField(
        min_value=Decimal(0),
        max_value=Decimal(100),
        max_digits=7,
        decimal_places=4,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    model = forms.CharField(
        required=False, max_length=200, widget=UnfoldAdminTextInputWidget, help_text="Empty: every model."
    )
    pool = forms.ChoiceField(
        required=False, choices=[("", "every pool"), *PricedPool.choices], widget=UnfoldAdminSelectWidget
    )
    effective_from = effective_from_field()

    def pull(self, *, now: datetime) -> str:
        set_hit_discount(plan=self.row, now=now, **self.cleaned_data)
        return "The new hit discount is set."


class EffectiveDated(FactsInline):
    """Rows that hold from an instant until the next row of their kind."""

    identity: Sequence[str] = ()

    @badge("state", IN_FORCE_COLOURS)
    def state(self, row: Any) -> str:
        """Return whether the row holds now, held before, or will hold."""
        if row.effective_from > timezone.now():
            return "to come"
        return "in force" if row.is_latest else "superseded"

    def get_queryset(self, request: HttpRequest) -> Any:
        newer = self.model._default_manager.filter(
            **{field: models.OuterRef(field) for field in ("plan", *self.identity)},
            effective_from__gt=models.OuterRef("effective_from"),
            effective_from__lte=timezone.now(),
        )
        return super().get_queryset(request).annotate(is_latest=~models.Exists(newer))


class PriceInline(EffectiveDated):
    """A plan's prices."""

    model = Price
    identity = ("model", "pool")
    fields = readonly_fields = ("model", "pool", "price", "effective_from", "state")

    @admin.display(description="price")
    def price(self, price: Price) -> str:
        """Return the amount and what it buys."""
        return f"{format_decimal(price.amount)} per {price.per:,}"


class HitDiscountInline(EffectiveDated):
    """A plan's hit discounts."""

    model = HitDiscount
    identity = ("outcome", "model", "pool")
    fields = readonly_fields = ("outcome", "shown_model", "shown_pool", "off", "effective_from", "state")

    @admin.display(description="model")
    def shown_model(self, discount: HitDiscount) -> str:
        """Return the model, or that it is every model."""
        return discount.model or "every model"

    @admin.display(description="pool")
    def shown_pool(self, discount: HitDiscount) -> str:
        """Return the pool, or that it is every pool."""
        return discount.pool or "every pool"

    @admin.display(description="off the list price")
    def off(self, discount: HitDiscount) -> str:
        """Return the percentage."""
        return f"{format_decimal(discount.percent)} %"


class PlanForm(ModelForm):
    """Knows which currencies there are."""

    def clean_currency(self) -> str:
        """Refuse a code whose minor unit is not known."""
        currency: str = self.cleaned_data["currency"].upper()
        try:
            minor_unit(currency)
        except UnknownCurrency as error:
            raise forms.ValidationError(f"{error}.") from error
        return currency


@admin.register(Plan)
class PlanAdmin(OperatorAdmin):
    """What tenants subscribe to."""

    form = PlanForm
    list_display = ("name", "currency", "subscribed")
    search_fields = ("name",)
    fields = (
        ("name", "currency"),
        ("requests_per_minute", "tokens_per_minute", "concurrent_requests"),
        ("max_output_tokens", "max_body_bytes"),
        ("count_hits", "enable_cache"),
        ("drain_seconds", "drain_tokens"),
    )
    inlines = (PriceInline, HitDiscountInline)
    levers = (SetPrices, SetHitDiscount, LimitPlan)

    @admin.display(description="tenants on it", ordering="subscribed")
    def subscribed(self, plan: Any) -> int:
        """Return how many tenants are on the plan now."""
        count: int = plan.subscribed
        return count

    def get_queryset(self, request: HttpRequest) -> Any:
        now = timezone.now()
        current = models.Q(subscriptions__starts_at__lte=now) & (
            models.Q(subscriptions__ends_at=None) | models.Q(subscriptions__ends_at__gt=now)
        )
        return (
            super().get_queryset(request).annotate(subscribed=models.Count("subscriptions", filter=current))
        )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)  # invoices and books name it

    def get_inlines(self, request: HttpRequest, obj: Plan | None) -> list[Any]:
        return list(self.inlines) if obj else []


@admin.register(Subscription)
class SubscriptionAdmin(FactsAdmin):
    """Who is and was on which plan; a tenant's page changes it."""

    list_display = ("tenant", "plan", "starts_at", "ends_at")
    list_filter = (("tenant", RelatedDropdownFilter), ("plan", RelatedDropdownFilter))
    list_filter_submit = True
    list_select_related = ("tenant", "plan")
    search_fields = ("tenant__slug", "tenant__name")
