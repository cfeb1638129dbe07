"""The API's paths for priced usage and invoices."""

from django.urls import path

from billing.api.invoices import InvoiceHtmlView, InvoiceList, InvoicePdfView, InvoiceView
from billing.api.usage import UsageView
from billing.api.usage_csv import UsageCsvView

urlpatterns = [
    path("usage", UsageView.as_view(), name="usage"),
    path("usage.csv", UsageCsvView.as_view(), name="usage-csv"),
    path("invoices", InvoiceList.as_view(), name="invoices"),
    path("invoices/<slug:number>", InvoiceView.as_view(), name="invoice"),
    path("invoices/<slug:number>.pdf", InvoicePdfView.as_view(), name="invoice-pdf"),
    path("invoices/<slug:number>.html", InvoiceHtmlView.as_view(), name="invoice-html"),
]
