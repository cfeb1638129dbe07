"""Invoices: written by services from usage and the price book; here they are looked at, and their levers pulled."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter, RelatedDropdownFilter

from billing.admin.invoice_levers import LEVERS
from billing.admin.words import thousands
from billing.documents import render_html, render_pdf
from billing.models import CreditNote, Invoice, InvoiceLine, Payment, StripeInvoice
from billing.money import format_decimal, format_money
from billing.selectors.invoices import invoice_document
from tenants.admin_pages import FactsAdmin, badge, button

STATUS_COLOURS = {
    Invoice.Status.DRAFT: "info",
    Invoice.Status.OPEN: "warning",
    Invoice.Status.PAID: "success",
    Invoice.Status.VOID: "default",
    Invoice.Status.UNCOLLECTIBLE: "danger",
}


@admin.register(Invoice)
class InvoiceAdmin(FactsAdmin):
    """Invoices with their lines, payments and credit notes."""

    change_form_template = "admin/billing/invoice_change_form.html"
    list_display = (
        "shown_number",
        "tenant",
        "shown_period",
        "shown_status",
        "list_price",
        "saved",
        "charged",
        "due_at",
    )
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("tenant", RelatedDropdownFilter),
        ("period_start", RangeDateTimeFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant",)
    search_fields = ("number", "tenant__slug", "tenant__name")
    fields = (("tenant", "shown_number"), ("shown_period", "shown_status"), ("finalised_at", "due_at"))
    readonly_fields = ("shown_number", "shown_period", "shown_status")
    levers = LEVERS

    @admin.display(description="number", ordering="number")
    def shown_number(self, invoice: Invoice) -> str:
        """Return the number, or that there is none yet."""
        return invoice.number or "draft"

    @admin.display(description="period", ordering="period_start")
    def shown_period(self, invoice: Invoice) -> str:
        """Return the month, or first and exclusive last day."""
        return period_words(invoice.period_start, invoice.period_end)

    @badge("status", STATUS_COLOURS)
    def shown_status(self, invoice: Invoice) -> str:
        """Return the status, coloured."""
        return invoice.status

    @admin.display(description="list", ordering="list_minor")
    def list_price(self, invoice: Invoice) -> str:
        """Return what all calls would have cost as misses."""
        return format_money(invoice.list_minor, invoice.currency)

    @admin.display(description="saved", ordering="discount_minor")
    def saved(self, invoice: Invoice) -> str:
        """Return what hits cost less."""
        return format_money(invoice.discount_minor, invoice.currency)

    @admin.display(description="net", ordering="net_minor")
    def charged(self, invoice: Invoice) -> str:
        """Return what is owed."""
        return format_money(invoice.net_minor, invoice.currency)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invoice]:
        return Invoice.objects.select_related("tenant", "stripe_invoice")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:row_id>/pdf/", view(self.pdf_view), name="billing_invoice_pdf"),
            path("<int:row_id>/html/", view(self.html_view), name="billing_invoice_html"),
            *super().get_urls(),
        ]

    def pdf_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Download the invoice as PDF."""
        invoice = self._visible(request, row_id)
        response = HttpResponse(render_pdf(invoice_document(invoice=invoice)), content_type="application/pdf")
        name = invoice.number or f"draft-{invoice.tenant.slug}-{invoice.period_start:%Y-%m}"
        response["Content-Disposition"] = f'attachment; filename="{name}.pdf"'
        return response

    def html_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Show the invoice as its customer sees it."""
        return HttpResponse(render_html(invoice_document(invoice=self._visible(request, row_id))))

    def row_links(self, request: HttpRequest, row: Invoice) -> list[dict[str, Any]]:
        return [
            button("PDF", reverse("admin:billing_invoice_pdf", args=[row.pk]), "picture_as_pdf"),
            button("HTML", reverse("admin:billing_invoice_html", args=[row.pk]), "description"),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if invoice := kwargs.get("obj"):
            context |= papers(invoice)
        return super().render_change_form(request, context, *args, **kwargs)

    def _visible(self, request: HttpRequest, row_id: int) -> Invoice:
        invoice: Invoice | None = self.get_object(request, str(row_id))
        if invoice is None:
            raise Http404
        if not self.has_view_permission(request, invoice):
            raise PermissionDenied
        return invoice


def period_words(start: datetime, end: datetime) -> str:
    """Return a period for people: its month where it is one, else its ends, the second exclusive."""
    is_month = start.day == end.day == 1 and (end - start).days in range(28, 32)
    return f"{start:%B %Y}" if is_month else f"{start:%Y-%m-%d %H:%M} – {end:%Y-%m-%d %H:%M} UTC"


def papers(invoice: Invoice) -> dict[str, Any]:
    """Return what the page of an invoice shows below its head, money written out."""
    payments, notes = list(invoice.payments.all()), list(invoice.credit_notes.all())
    received = sum(payment.amount_minor for payment in payments)
    given_back = sum(note.net_minor for note in notes)
    return {
        "lines": [line_words(line, invoice.currency) for line in invoice.lines.all()],
        "totals": {
            "list": format_money(invoice.list_minor, invoice.currency),
            "saved": format_money(invoice.discount_minor, invoice.currency),
            "net": format_money(invoice.net_minor, invoice.currency),
        },
        "movements": [*_payments(payments, invoice.currency), *_notes(notes, invoice.currency)],
        "due": format_money(invoice.net_minor - received - given_back, invoice.currency),
        "wrong_hits": [
            {"hit": credit.wrong_hit, "charged": format_decimal(credit.charged_accrued)}
            for credit in invoice.wrong_hit_credits.select_related("wrong_hit")
        ],
        "stripe": StripeInvoice.objects.filter(invoice=invoice).first(),
    }


def line_words(line: InvoiceLine, currency: str) -> dict[str, Any]:
    """Return a line for the table: words and written-out figures."""
    return {
        "model": line.model,
        "pool": line.get_pool_display(),
        "outcome": line.get_outcome_display(),
        "note": _note(line),
        "calls": thousands(line.calls),
        "quantity": thousands(line.quantity),
        "unit_price": _unit_price(line),
        "list": format_money(line.list_minor, currency),
        "saved": format_money(line.discount_minor, currency),
        "net": format_money(line.net_minor, currency),
        "has_saved": line.discount_minor > 0,
    }


def _unit_price(line: InvoiceLine) -> str:
    if line.unit_amount is None or line.per is None:
        return "–"
    return f"{format_decimal(line.unit_amount)} per {line.per:,}"


def _note(line: InvoiceLine) -> str:
    said = []
    if line.kind == InvoiceLine.Kind.QUARANTINED:
        said.append(f"quarantined, not charged: {line.reason}" if line.reason else "quarantined, not charged")
    if line.kind == InvoiceLine.Kind.WRONG_HIT:
        said.append(f"credit for wrong hits of {line.original_period_start:%B %Y}")
    elif line.original_period_start:
        said.append(f"late usage of {line.original_period_start:%B %Y}")
    if line.quality == "estimated":
        said.append("estimated")
    return "; ".join(said)


def _payments(payments: Iterable[Payment], currency: str) -> list[dict[str, str]]:
    return [
        {
            "when": f"{payment.received_at:%Y-%m-%d}",
            "what": f"payment, {payment.method} {payment.reference}".strip(),
            "amount": format_money(-payment.amount_minor, currency),
        }
        for payment in payments
    ]


def _notes(notes: Iterable[CreditNote], currency: str) -> list[dict[str, str]]:
    return [
        {
            "when": f"{note.issued_at:%Y-%m-%d}",
            "what": f"credit note {note.number}: {note.reason}",
            "amount": format_money(-note.net_minor, currency),
        }
        for note in notes
    ]
