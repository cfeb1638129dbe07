"""The API's paths for priced usage and invoices."""

from django.urls import path

from billing.api.usage_csv import UsageCsvView

urlpatterns = [
    path("usage.csv", UsageCsvView.as_view(), name="usage-csv"),
]
