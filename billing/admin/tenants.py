"""Tenants as billing sees them: their plan, what they save, and where Stripe knows them."""

from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing.admin.limits import BudgetInline
from billing.admin.savings import savings_page, written_out
from billing.errors import BillingError
from billing.models import Plan, Subscription
from billing.selectors.savings_of_many import savings_by_tenant
from billing.services.collection import link_customer
from billing.services.subscriptions import subscribe
from metering.periods import month_of
from tenants.admin import TenantAdmin
from tenants.admin_pages import FactsInline, Lever, button, require
from tenants.models import Tenant

SAVINGS_PERMISSIONS = ["tenants.view_tenant", "metering.view_usagerollup", "billing.view_invoice"]


class ChangePlan(Lever):
    """Put a tenant on a plan."""

    name, title, icon = "change-plan", "Change plan", "event_repeat"
    permission, refusals = "billing.add_subscription", (BillingError,)
    explanation = (
        "The tenant is on the new plan from now on; usage until now is rated with the plan it was on."
    )

    plan = forms.ModelChoiceField(queryset=Plan.objects.all(), widget=UnfoldAdminSelectWidget)

    def pull(self, *, now: datetime) -> str:
        subscribe(tenant=self.row, plan=self.cleaned_data["plan"], now=now)
        return f"{self.row} is on {self.cleaned_data['plan']}."


class LinkCustomer(Lever):
    """Let Stripe collect what a tenant owes."""

    name, title, icon, is_rare = "link-customer", "Link Stripe customer", "link", True
    permission, refusals = "billing.add_stripecustomer", (BillingError,)
    explanation = "From then on the tenant's open invoices are pushed to Stripe."

    customer_id = forms.CharField(
        label="Customer id",
        required=False,
        max_length=255,
        widget=UnfoldAdminTextInputWidget,
        help_text="As cus_…; empty: make a customer at Stripe.",
    )

    @classmethod
    def applies(cls, row: Tenant) -> bool:
        del row
        return bool(settings.STRIPE_API_KEY)

    def pull(self, *, now: datetime) -> str:
        del now
        customer = link_customer(tenant=self.row, customer_id=self.cleaned_data["customer_id"] or None)
        return f"{self.row} is {customer.customer_id} at Stripe."


class SubscriptionInline(FactsInline):
    """Which plans a tenant is and was on."""

    model = Subscription
    fields = readonly_fields = ("plan", "starts_at", "ends_at")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("plan", "tenant")


admin.site.unregister(Tenant)


@admin.register(Tenant)
class BilledTenantAdmin(TenantAdmin):
    """A tenant's page, with what billing adds to it."""

    list_display = ("name", "slug", "plan", "shown_status", "saved", "created_at")
    inlines = (SubscriptionInline, BudgetInline, *TenantAdmin.inlines)
    levers = (*TenantAdmin.levers, ChangePlan, LinkCustomer)

    @admin.display(description="plan", ordering="current_plan")
    def plan(self, tenant: Any) -> str:
        """Return the plan that the tenant is on now."""
        return tenant.current_plan or "–"

    @admin.display(description="saved this month")
    def saved(self, tenant: Any) -> str:
        """Return what hits have saved the tenant this month, and the way to its savings page."""
        return format_html('<a class="text-link" href="{}">{}</a>', savings_link(tenant), tenant.saved)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        saved = saved_this_month([tenant.pk for tenant in changelist.result_list], timezone.now())
        for tenant in changelist.result_list:
            tenant.saved = saved.get(tenant.pk, "–")
        return changelist

    def get_queryset(self, request: HttpRequest) -> Any:
        now = timezone.now()
        held = Subscription.objects.filter(tenant=OuterRef("pk"), starts_at__lte=now).exclude(
            ends_at__lte=now
        )
        return super().get_queryset(request).annotate(current_plan=Subquery(held.values("plan__name")[:1]))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.savings_view)
        return [path("<int:row_id>/savings/", view, name="tenants_tenant_savings"), *super().get_urls()]

    def savings_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Show what a tenant used, was charged and saved over a period."""
        require(request, SAVINGS_PERMISSIONS)
        tenant: Tenant | None = self.get_object(request, str(row_id))
        if tenant is None:
            raise Http404
        context = savings_page(tenant, request.GET, timezone.now())
        return self.page(request, "admin/billing/savings.html", "Savings", row=tenant, **context)

    def row_links(self, request: HttpRequest, row: Tenant) -> list[dict[str, Any]]:
        if not request.user.has_perms(SAVINGS_PERMISSIONS):
            return []
        return [button("Savings", savings_link(row), "savings")]


def saved_this_month(tenant_ids: list[int], now: datetime) -> dict[int, str]:
    """Return what each of the tenants that used anything this month has saved, written out."""
    saved = savings_by_tenant(tenant_ids=tenant_ids, period=month_of(now))
    return {
        tenant_id: written_out(one.total, one.currency).saved
        for tenant_id, one in saved.items()
        if one.currency
    }


def savings_link(tenant: Tenant) -> str:
    """Return where a tenant's savings page is."""
    return reverse("admin:tenants_tenant_savings", args=[tenant.pk])
