"""``GET /api/v1/invoices`` and ``/api/v1/invoices/{number}``, the latter also as PDF and HTML."""

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.representations import InvoiceDetail, InvoiceSummary
from billing.documents import render_html, render_pdf
from billing.errors import UnknownInvoice
from billing.models import Invoice
from billing.selectors.invoices import invoice_document
from tenants.api.query import Query
from tenants.api.views import TenantView
from tenants.models import Scope, Tenant

ISSUED = [status for status in Invoice.Status if status is not Invoice.Status.DRAFT]
_CREDITED = "wrong_hit_credits__wrong_hit"
NOTHING_ELSE_LOADS = "default-src 'none'; style-src 'unsafe-inline'"


class Pages(CursorPagination):
    """Pages of invoices, the youngest period first."""

    ordering = ("-period_start", "-id")
    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"


class InvoicesQuery(Query):
    """Which invoices to list."""

    status = serializers.ChoiceField(ISSUED, required=False, help_text="Only those of this status.")
    page_size = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=Pages.max_page_size,
        help_text="How many at a time; 50 by default.",
    )
    cursor = serializers.CharField(required=False, help_text="From the `next` of the page before.")


class InvoiceList(TenantView, ListAPIView[Invoice]):
    """The invoices of the tenant that calls."""

    scope = Scope.INVOICES_READ
    pagination_class = Pages
    serializer_class = InvoiceSummary

    @extend_schema(operation_id="list_invoices", summary="Invoices", parameters=[InvoicesQuery])
    def get(self, request: Request) -> Response:
        """List the invoices, the youngest period first. Drafts are not shown."""
        return self.list(request)

    def get_queryset(self) -> QuerySet[Invoice]:
        """Return the tenant's invoices of the status that was asked for."""
        query = InvoicesQuery.read(self.request)
        return _issued_to(self.tenant).filter(**{name: query[name] for name in ("status",) if name in query})


class InvoiceView(TenantView):
    """One invoice."""

    scope = Scope.INVOICES_READ

    @extend_schema(operation_id="get_invoice", summary="An invoice with its lines", responses=InvoiceDetail)
    def get(self, _request: Request, number: str) -> Response:
        """Return the invoice, its lines, and what is still due."""
        return Response(InvoiceDetail(_issued_invoice(self.tenant, number)).data)


class InvoicePdfView(TenantView):
    """One invoice to print."""

    scope = Scope.INVOICES_READ

    @extend_schema(
        operation_id="get_invoice_pdf",
        summary="An invoice as PDF",
        responses={(200, "application/pdf"): OpenApiTypes.BINARY},
    )
    def get(self, _request: Request, number: str) -> HttpResponse:
        """Return the invoice as PDF."""
        pdf = render_pdf(invoice_document(invoice=_issued_invoice(self.tenant, number)))
        disposition = f'inline; filename="{number}.pdf"'
        return HttpResponse(pdf, content_type="application/pdf", headers={"Content-Disposition": disposition})


class InvoiceHtmlView(TenantView):
    """One invoice to look at."""

    scope = Scope.INVOICES_READ

    @extend_schema(
        operation_id="get_invoice_html",
        summary="An invoice as HTML",
        responses={(200, "text/html"): OpenApiTypes.STR},
    )
    def get(self, _request: Request, number: str) -> HttpResponse:
        """Return the invoice as one page that needs no other file."""
        html = render_html(invoice_document(invoice=_issued_invoice(self.tenant, number)))
        return HttpResponse(html, headers={"Content-Security-Policy": NOTHING_ELSE_LOADS})


def _issued_to(tenant: Tenant) -> QuerySet[Invoice]:
    return Invoice.objects.filter(tenant=tenant, status__in=ISSUED)


def _issued_invoice(tenant: Tenant, number: str) -> Invoice:
    try:
        return _issued_to(tenant).select_related("tenant").prefetch_related(_CREDITED).get(number=number)
    except Invoice.DoesNotExist:
        raise UnknownInvoice(f"There is no invoice {number}.") from None
