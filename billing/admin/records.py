"""Credit notes, payments and what Stripe told us: written elsewhere, read here."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter

from billing.models import CreditNote, CreditNoteLine, Payment, StripeInvoice, StripeWebhook
from billing.money import format_money
from billing.services.webhooks import retry
from tenants.admin_pages import FactsAdmin, FactsInline, Lever, badge

STRIPE_COLOURS = {
    StripeInvoice.State.PENDING: "info",
    StripeInvoice.State.PUSHED: "success",
    StripeInvoice.State.PARKED: "danger",
}


class CreditNoteLineInline(FactsInline):
    """What a credit note gives back, line by line."""

    model = CreditNoteLine
    fields = readonly_fields = ("invoice_line", "given_back")

    @admin.display(description="given back")
    def given_back(self, line: CreditNoteLine) -> str:
        """Return the line's share."""
        return format_money(line.net_minor, line.credit_note.invoice.currency)

    def get_queryset(self, request: Any) -> Any:
        related = ("invoice_line", "credit_note__invoice")
        return super().get_queryset(request).select_related(*related)


@admin.register(CreditNote)
class CreditNoteAdmin(FactsAdmin):
    """Credit notes; an invoice's page issues them."""

    list_display = ("number", "invoice", "given_back", "reason", "issued_at")
    list_select_related = ("invoice__tenant",)
    search_fields = ("number", "invoice__number", "invoice__tenant__slug")
    fields = (("number", "invoice"), ("given_back", "issued_at"), "reason")
    readonly_fields = ("given_back",)
    inlines = (CreditNoteLineInline,)

    @admin.display(description="given back")
    def given_back(self, note: CreditNote) -> str:
        """Return the note's total."""
        return format_money(note.net_minor, note.invoice.currency)


@admin.register(Payment)
class PaymentAdmin(FactsAdmin):
    """Payments; an invoice's page records them."""

    list_display = ("invoice", "amount", "method", "reference", "received_at")
    list_filter = (("received_at", RangeDateTimeFilter),)
    list_filter_submit = True
    list_select_related = ("invoice__tenant",)
    search_fields = ("reference", "invoice__number", "invoice__tenant__slug")
    fields = (("invoice", "amount"), ("method", "reference"), ("received_at", "recorded_at"))
    readonly_fields = ("amount", "recorded_at")

    @admin.display(description="amount")
    def amount(self, payment: Payment) -> str:
        """Return the amount received."""
        return format_money(payment.amount_minor, payment.invoice.currency)


@admin.register(StripeInvoice)
class StripeInvoiceAdmin(FactsAdmin):
    """Invoices on their way to Stripe; an invoice's page pushes them."""

    list_display = ("invoice", "shown_state", "problem", "tries", "pushed_at", "stripe_id")
    list_filter = (("state", ChoicesDropdownFilter),)
    list_filter_submit = True
    list_select_related = ("invoice__tenant",)
    search_fields = ("stripe_id", "invoice__number", "invoice__tenant__slug")

    @badge("state", STRIPE_COLOURS)
    def shown_state(self, row: StripeInvoice) -> str:
        """Return the state, coloured."""
        return row.state


class TryAgain(Lever):
    """Let a webhook that was given up be worked again."""

    name, title, icon = "try-again", "Try again", "replay"
    permission = "billing.change_stripewebhook"
    explanation = "Starts its tries anew, from the next sweep on. Mend what the problem names first."

    @classmethod
    def applies(cls, row: StripeWebhook) -> bool:
        return row.worked_at is None and row.tries >= StripeWebhook.TRIES_MAX

    def pull(self, *, now: datetime) -> str:
        retry(webhook=self.row, now=now)
        return "It is tried again within some seconds."


@admin.register(StripeWebhook)
class StripeWebhookAdmin(FactsAdmin):
    """What Stripe delivered."""

    levers = (TryAgain,)

    list_display = ("type", "event_id", "received_at", "worked_at", "tries", "problem")
    list_filter = (("received_at", RangeDateTimeFilter),)
    list_filter_submit = True
    search_fields = ("event_id", "type")
